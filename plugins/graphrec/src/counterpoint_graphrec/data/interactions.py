"""Who touched what: the base of every source of interactions."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import scipy.sparse
import torch

from counterpoint.errors import ConfigError, DataError, message, unknown
from counterpoint.parts import SPLITS, Dataset
from counterpoint.types import Batch, Sample
from counterpoint_graphrec.data import splits as parting
from counterpoint_graphrec.data.catalogue import Catalogue
from counterpoint_graphrec.data.ids import found
from counterpoint_graphrec.data.log import Log, cleaned
from counterpoint_graphrec.data.mixing import mixed
from counterpoint_graphrec.data.splits import TRAIN, Fractions, Split
from counterpoint_graphrec.data.titles import described


class Interactions(Dataset):
    """Distinct pairs of user and item, in order of their numbers; a sample is one pair.

    A subclass reads a source (`_read`); the rest is common: rows without ids are left out, repeats are, ratings become
    yes or no, and every pair goes to train, val or test. ``notes`` tells what was left out, with counts.

    Args:
        source: what to read.
        user: column of the users' ids (text or whole numbers); by default the usual names are looked for. Of a file
            without a header, the column's place: ``1``.
        item: column of the items' ids.
        rating: column of ratings; ``""``: none.
        time: column of times (numbers or dates); ``""``: none.
        min_rating: a lower rating is no interaction. None: every row is one.
        core: keep users and items with at least this many interactions among each other (k-core). 0: all.
        draw_users: keep so many users, drawn with ``seed`` (before ``core``), for a quick try. 0: all.
        split: ``random`` (shares of each user's interactions), ``leave-one-out`` (each user's last is test, the last
            but one val), ``time`` (cut at two moments for all), ``fixed`` (the source's own). None: fixed where the
            source has its own, else random.
        fractions: shares of train, val and test.
        seed: of the random split and the draw of users.
        titles: table with a column of item ids and one of titles (and, where there is one, of categories).

    Attributes:
        n_users: number of users.
        n_items: number of items.
        pairs: ``(N, 2)`` int64, user and item number of each distinct interaction.
        timestamps: ``(N,)`` float64, numbers as in the source and dates as seconds since 1970; or None.
        user_names: the source's ids, by user number.
        item_names: the source's ids, by item number.
        titles, groups: what a person calls each item (its id where it has no title), and its category ("" where it is
            unknown); None where the source has none.

    Raises:
        DataError: no such source or column, or nothing is left.
        ConfigError: settings that contradict each other or the source.
    """

    in_memory = True

    def __init__(
        self,
        source: str,
        *,
        user: str | None = None,
        item: str | None = None,
        rating: str | None = None,
        time: str | None = None,
        min_rating: float | None = None,
        core: int = 0,
        draw_users: int = 0,
        split: Split | None = None,
        fractions: Fractions = (0.7, 0.1, 0.2),
        seed: int = 0,
        titles: str | None = None,
    ) -> None:
        parting.check_fractions(fractions)
        log = self._read(source, {"user": user, "item": item, "rating": rating, "time": time})
        split = _chosen(split, log, core)
        if split != "fixed":
            log.part = None
        log = cleaned(log, min_rating, core, draw_users, seed)
        if titles is not None:
            log = described(log, titles)
        self.n_users, self.n_items = len(log.users), len(log.items)
        self.user_names, self.item_names = log.users, log.items
        self.titles = None if log.titles is None else log.titles.or_else(log.items)
        self.groups = log.groups
        self.pairs = np.stack([log.user, log.item], axis=1).astype(np.int64)
        self.timestamps = log.time if log.clock else None
        self._parts = _parted(log, split, fractions, seed)
        self._matrices: dict[str, scipy.sparse.csr_array] = {}
        self.notes = (*log.notes, *_told(log.user, log.item, self._parts))

    @abstractmethod
    def _read(self, source: str, asked: dict[str, str | None]) -> Log:
        """The rows of ``source``; ``asked`` has the names of the columns user, item, rating and time."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Sample with the numbers of ``user`` and ``item``: int64 scalars."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        user, item = torch.from_numpy(self.pairs[index].copy())
        return Sample(index, {"user": user, "item": item}, content=int(self._content(self.pairs[index : index + 1])[0]))

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at ``indices``: ``user`` and ``item`` ``(B,)`` int64, without an object for each."""
        index = np.asarray(indices, dtype=np.int64).reshape(-1)
        pairs = self.pairs[index]
        columns = torch.from_numpy(np.ascontiguousarray(pairs.T))
        content = torch.from_numpy(self._content(pairs))
        return Batch({"user": columns[0], "item": columns[1]}, torch.from_numpy(index), content)

    @staticmethod
    def _content(pairs: np.ndarray) -> np.ndarray:
        """Content ids: of the numbers, since pairs are distinct."""
        return mixed(pairs[:, 0], pairs[:, 1])

    def name(self, index: int) -> str:
        """``user → item`` by their ids; an id that has an arrow in it stands in quotes, so that names stay distinct."""
        user, item = self.pairs[index]
        return f"{_quoted(self.user_names[user])} → {_quoted(self.item_names[item])}"

    def splits(self) -> dict[str, np.ndarray]:
        """Indices of ``train``, ``val`` and ``test``: disjoint, together everything."""
        return {split: np.flatnonzero(self._parts == number) for number, split in enumerate(SPLITS)}

    def pairs_of(self, split: str) -> np.ndarray:
        """``(n, 2)`` int64: user and item numbers of a split, in order of user and item."""
        chosen: np.ndarray = self.pairs[self._parts == _part(split)]
        return chosen

    def matrix(self, split: str) -> scipy.sparse.csr_array:
        """``(n_users, n_items)`` float32: 1 where a pair is in ``split``, made once."""
        if split not in self._matrices:
            pairs = self.pairs_of(split)
            index = np.int32 if len(pairs) < 2**31 else np.int64
            rows = np.zeros(self.n_users + 1, dtype=index)
            np.cumsum(np.bincount(pairs[:, 0], minlength=self.n_users), out=rows[1:])
            ones, shape = np.ones(len(pairs), dtype=np.float32), (self.n_users, self.n_items)
            self._matrices[split] = scipy.sparse.csr_array((ones, pairs[:, 1].astype(index), rows), shape=shape)
        return self._matrices[split]

    def entities(self) -> Catalogue:
        """The items, one sample each; always the same `Catalogue`."""
        return self._catalogue

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self.item_names, self.titles, self.groups)

    def user_number(self, name: str) -> int:
        """Number of the user with this id.

        Raises:
            DataError: nobody has it; the nearest id is named.
        """
        return found(self.user_names, str(name), "user")

    def item_number(self, name: str) -> int:
        """Number of the item with this id.

        Raises:
            DataError: no item has it; the nearest id is named.
        """
        return found(self.item_names, str(name), "item")

    def digest(self) -> str:
        """From every pair, its time and its split, and all ids, titles and categories."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        state = hashlib.blake2b(digest_size=16)
        for array in (self.pairs, self._parts, self.timestamps):
            state.update(b"" if array is None else np.ascontiguousarray(array).data)
        for texts in (self.user_names, self.item_names, self.titles, self.groups):
            state.update(b"\0" if texts is None else texts.bytes())
        return state.hexdigest()


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False) if "→" in name or name.startswith('"') else name


def _part(split: str) -> int:
    if split not in SPLITS:
        raise DataError(unknown("split", split, SPLITS))
    return SPLITS.index(split)


def _chosen(split: Split | None, log: Log, core: int) -> Split:
    """The way to split, if the source allows it."""
    allowed: tuple[Split, ...] = ("random", "leave-one-out", "time", "fixed")
    if split is None:
        split = "random" if log.part is None else "fixed"
    if split not in allowed:
        raise ConfigError(unknown("split", split, allowed))
    if split == "fixed" and log.part is None:
        todo = "Use random, leave-one-out or time."
        raise ConfigError(message("split", "'fixed', but the source has no split of its own", "one that has", todo))
    if split == "fixed" and core:
        todo = "Leave core out, or draw a new split: split='random'."
        raise ConfigError(
            message("core", f"{core} with the source's fixed split", "0 (it would change the test)", todo)
        )
    if split == "time" and (log.time is None or not log.clock):
        found = "no column of times" if log.time is None else "places in each history, which are no common clock"
        todo = "Name the column (--dataset.time NAME), or use --dataset.split random."
        raise ConfigError(message("split", f"'time', but the source has {found}", "a source with times", todo))
    return split


def _parted(log: Log, split: Split, fractions: Fractions, seed: int) -> np.ndarray:
    """``(N,)`` int8: the part of each pair."""
    if split == "fixed" and log.part is not None:
        return parting.complete(log.user, log.item, log.part, log.time, fractions, seed)
    if split == "time" and log.time is not None:
        return parting.by_time(log.time, fractions)
    if split == "leave-one-out":
        if log.time is None:
            log.notes.append("There are no times: which interactions are left out was drawn at random.")
        return parting.leave_one_out(log.user, log.item, log.time, seed)
    return parting.randomly(log.user, log.item, fractions, seed)


def _told(users: np.ndarray, items: np.ndarray, parts: np.ndarray) -> list[str]:
    """What the split leaves without a measurement."""
    notes = []
    train = parts == TRAIN
    tested, everyone = (np.count_nonzero(np.bincount(some)) for some in (users[parts == parting.TEST], users))
    if tested < everyone:
        notes.append(f"Not measured: {everyone - tested:,} of {everyone:,} users, who have no test item.")
    seen = [np.bincount(column[train], minlength=int(column.max()) + 1)[column] > 0 for column in (users, items)]
    strange = int((~train & ~(seen[0] & seen[1])).sum())
    if strange:
        notes.append(
            f"In val and test: {strange:,} of {int((~train).sum()):,} pairs whose user or item train does not have."
        )
    return notes
