"""Recommendations for everybody, as a Parquet table that grows by row groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, TrainingError, message
from counterpoint.evaluation._topk import topk
from counterpoint.files import atomic
from counterpoint_graphrec.tasks.filters import Filters
from counterpoint_graphrec.tasks.nodes import Nodes
from counterpoint_graphrec.tasks.reasons import explain

if TYPE_CHECKING:
    from counterpoint_graphrec.tasks.recommender import Recommender

SCORES = 8_000_000
"""Scores held at a time (32 MB of float32)."""
MOST_USERS = 4096
"""Users of a row group."""
SCHEMA = pa.schema(
    {
        "user": pa.string(),
        "rank": pa.int32(),
        "item": pa.string(),
        "title": pa.string(),
        "score": pa.float32(),
        "rule": pa.dictionary(pa.int8(), pa.string()),
        "because": pa.list_(pa.string()),
    }
)
"""One row per user and rank, from 1. ``because``: ids of the user's items that add most to the score."""
RULES = ("user", "popularity")


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch wrote.

    Attributes:
        users: how many were asked for.
        rows: recommendations.
        popular: users without a training item, who got the most popular items.
        empty: users to whom nothing is left to recommend.
        notes: of the filters.
    """

    users: int
    rows: int
    popular: int
    empty: int
    notes: tuple[str, ...]


def write(
    recommender: Recommender,
    path: Path,
    k: int,
    filters: Filters,
    users: Sequence[str] | None = None,
    reasons: int = 1,
    tick: Callable[[int], None] | None = None,
) -> Written:
    """Write the ``k`` best items of each user to ``path``: the whole table, or nothing.

    Args:
        recommender: fitted, with users.
        path: Parquet file, see `SCHEMA`.
        k: items a user; fewer where fewer are left.
        filters: which items may come.
        users: ids; None: everybody.
        reasons: at most this many items in ``because``.
        tick: called with the number of users that were just done.

    Raises:
        ConfigError: no users, or ``k`` below 1.
        DataError: an unknown user, or filters that leave nothing.
        TrainingError: the file cannot be written.
    """
    nodes, names = recommender.nodes, recommender.names
    numbers = np.arange(len(nodes.users)) if users is None else np.array([names.user(one) for one in users], dtype=int)
    if not len(numbers) or k < 1:
        raise ConfigError(message("users, k", f"{len(numbers)} users, k={k}", "at least one user, and k of at least 1"))
    allowed, notes = recommender.allowed(filters)
    columns = np.flatnonzero(allowed)
    size = max(1, min(MOST_USERS, SCORES // len(columns)))
    rows = popular = empty = 0
    try:
        with atomic(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
            for start in range(0, len(numbers), size):
                tile = numbers[start : start + size]
                group = _Group(recommender, tile, columns, k, filters.seen, reasons)
                writer.write_table(group.table())
                rows, popular, empty = rows + group.rows, popular + group.popular, empty + group.empty
                if tick is not None:
                    tick(len(tile))
    except OSError as error:
        todo = "Nothing was written. Free some space or mend the permissions."
        raise TrainingError(message("out", f"{path}: {error}", "a file that can be written", todo)) from None
    return Written(len(numbers), rows, popular, empty, notes)


class _Group:
    """The recommendations of some users.

    Args:
        recommender: fitted.
        users: ``(B,)`` their numbers.
        columns: ``(C,)`` items that may come, rising.
        k: items a user.
        seen: also what they have.
        reasons: items in ``because``.
    """

    def __init__(
        self, recommender: Recommender, users: np.ndarray, columns: np.ndarray, k: int, seen: bool, reasons: int
    ) -> None:
        self.names, self.users, self.reasons = recommender.names, users, reasons
        self.nodes = nodes = recommender.nodes
        history = nodes.history.indptr
        self.known = history[users + 1] > history[users]
        scores = nodes.users[torch.from_numpy(users)] @ nodes.items[torch.from_numpy(columns)].T
        counts = torch.from_numpy(nodes.popularity[columns]).to(scores.dtype)
        scores[torch.from_numpy(~self.known)] = counts
        if not seen:
            _hide(scores, nodes, users, columns)
        values, places = topk(scores, min(k, len(columns)))
        self.values, self.items = values.numpy(), columns[places.numpy()]
        self.there = np.isfinite(self.values)

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return int(self.there.sum())

    @property
    def popular(self) -> int:
        """How many users got the most popular items."""
        return int((~self.known).sum())

    @property
    def empty(self) -> int:
        """How many users got nothing."""
        return int((~self.there.any(axis=1)).sum())

    def table(self) -> pa.Table:
        """One row per user and rank."""
        user, rank = self.there.nonzero()
        items = self.items[self.there]
        rule = pa.DictionaryArray.from_arrays(pa.array((~self.known[user]).astype(np.int8)), pa.array(RULES))
        called = [self.names.users[number] for number in self.users.tolist()]
        columns = {
            "user": pa.array(called, pa.string()).take(pa.array(user)),
            "rank": pa.array((rank + 1).astype(np.int32)),
            "item": pa.array([self.names.items[number] for number in items.tolist()], pa.string()),
            "title": pa.array([self.names.titles[number] for number in items.tolist()], pa.string()),
            "score": pa.array(self.values[self.there].astype(np.float32)),
            "rule": rule,
            "because": pa.array(self._because(), pa.list_(pa.string())),
        }
        return pa.table(columns, schema=SCHEMA)

    def _because(self) -> Iterator[list[str]]:
        for row, user in enumerate(self.users.tolist()):
            targets = torch.from_numpy(self.items[row][self.there[row]])
            own = self.nodes.had(user)
            for parts in explain(self.nodes, "user", own, targets, self.reasons):
                yield [] if parts is None else [self.names.items[number] for number, _ in parts.largest]


def _hide(scores: Tensor, nodes: Nodes, users: np.ndarray, columns: np.ndarray) -> None:
    """Set what the users have to minus infinity, in place."""
    place = np.full(len(nodes.items), -1)
    place[columns] = np.arange(len(columns))
    has = [place[nodes.has(user)] for user in users.tolist()]
    row = np.repeat(np.arange(len(users)), [len(one) for one in has])
    column = np.concatenate(has)
    shown = column >= 0
    scores[torch.from_numpy(row[shown]), torch.from_numpy(column[shown])] = -torch.inf
