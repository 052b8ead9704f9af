"""Full ranking: for each user all items are scored, those already seen are left out, and the top K is judged.

Never on sampled negatives, which may reverse the order of two models (Krichene & Rendle 2020). Scores are made in tiles
of users x items, so memory is that of one tile beside the result, whatever the sizes. Equal scores go by item number,
the lower first: the same scores give the same ranking everywhere, but a model that scores everything alike is as good
as the order of the items; shuffle their numbers where that order means something. ``recall@K`` is recommendation's
(share of a user's relevant items), not that of `evaluation.retrieval` (any hit), which is ``hit@K`` here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation._topk import merge, topk

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Scores = Callable[[Tensor, slice], Tensor]
"""Users ``(b,)`` int64 and a range of items -> scores ``(b, items)``, the higher the better, in memory of their own."""

TILE = 32_768
"""Items per tile."""
SCORES = 1_000_000
"""Scores held at a time: 4 MB of float32 stay in the cache between product, mask and top-k; 16 MB are half as quick."""


def dot_scores(users: Tensor, items: Tensor) -> Scores:
    """Inner products of ``(N, D)`` users with ``(M, D)`` items; normalise both first for cosine.

    Raises:
        ShapeError: widths that differ, a row with NaN or infinity.
    """
    items = _check.features("items", items)
    users = _check.features("users", users, dim=items.shape[1], dtype=items.dtype)
    return lambda rows, columns: users[rows] @ items[columns].T


@dataclass(frozen=True, slots=True)
class Ranked:
    """The top K of each user that has something to be found, and which of it is right.

    What is measured comes user by user, ``(U,)`` float64 in the order of ``users``, so that two models can be compared
    in pairs; `metrics` has the means.

    Attributes:
        users: ``(U,)`` int64, rising: users with a relevant item.
        items: ``(U, K)`` int64, the best first; -1 where a user had no further candidate.
        hits: ``(U, K)`` bool, whether the item is relevant.
        relevant: ``(U,)`` int64, number of relevant items.
        n_items: number of items ``M`` in all.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    hits: NDArray[np.bool_]
    relevant: NDArray[np.int64]
    n_items: int

    def found(self, k: int) -> NDArray[np.int64]:
        """Hits among the first ``k``: ``(U,)``.

        Raises:
            ConfigError: ``k`` below 1, or more than was ranked.
        """
        _check.at_least("k", k)
        ranked = self.items.shape[1]
        if ranked < min(k, self.n_items):
            raise ConfigError(message("k", k, f"1 to {ranked}, as many as were ranked", "Rank with a larger k."))
        count: NDArray[np.int64] = self.hits[:, :k].sum(axis=1)
        return count

    def recall(self, k: int) -> NDArray[np.float64]:
        """Share of a user's relevant items that is in the top ``k``; the denominator is all of them, not ``k``."""
        return self.found(k) / self.relevant

    def precision(self, k: int) -> NDArray[np.float64]:
        """Share of the top ``k`` that is relevant."""
        return self.found(k) / k

    def hit(self, k: int) -> NDArray[np.float64]:
        """1 where any relevant item is in the top ``k`` (the usual hit rate HR), else 0."""
        return (self.found(k) > 0).astype(np.float64)

    def ndcg(self, k: int) -> NDArray[np.float64]:
        """``sum_hits 1 / log2(rank + 1)`` over its largest value, that of ``min(k, relevant)`` hits at the top."""
        self.found(k)
        gains = 1 / np.log2(np.arange(2, k + 2))
        best = np.cumsum(gains)[np.minimum(self.relevant, k) - 1]
        hits = self.hits[:, :k]
        share: NDArray[np.float64] = hits @ gains[: hits.shape[1]] / best
        return share

    def micro_recall(self, k: int) -> float:
        """All hits over all relevant items, which SELFRec prints as "Hit Ratio": heavy users weigh more."""
        return float(self.found(k).sum() / self.relevant.sum())

    def metrics(self, k: int) -> dict[str, float]:
        """Means over the users: ``recall@k``, ``ndcg@k``, ``precision@k``, ``hit@k``; and ``micro_recall@k``."""
        of_users = {"recall": self.recall, "ndcg": self.ndcg, "precision": self.precision, "hit": self.hit}
        means = {f"{name}@{k}": float(values(k).mean()) for name, values in of_users.items()}
        return means | {f"micro_recall@{k}": self.micro_recall(k)}


def full_ranking(
    scores: Scores, seen: csr_array, relevant: csr_array, k: int = 20, *, tile: int = TILE, held: int = SCORES
) -> Ranked:
    """Rank all items for each user with a relevant one, those in ``seen`` left out.

    Args:
        scores: e.g. of `dot_scores`; minus infinity means that an item is never shown.
        seen: ``(N, M)`` sparse, stored entries are what a user already has: of training, and of validation when test is
            measured. A relevant item that was seen can't be found.
        relevant: ``(N, M)`` sparse, stored entries are what should be found.
        k: length of a user's list; metrics are had for this and every smaller k.
        tile: items scored at a time.
        held: scores held at a time, which gives the number of users.

    Raises:
        ShapeError: shapes that differ, no user with a relevant item, a score that is NaN.
        ConfigError: a ``k``, ``tile`` or ``held`` below 1.
    """
    if seen.shape != relevant.shape:
        raise ShapeError(message("relevant", f"shape {relevant.shape}", f"{seen.shape}, as seen has"))
    _check.at_least("k", k)
    truth = relevant.copy()
    truth.sum_duplicates()  # and sorts
    counts = np.diff(truth.indptr).astype(np.int64)
    users = np.flatnonzero(counts)
    if len(users) == 0:
        todo = "Choose a split that holds something out for some user."
        raise ShapeError(message("relevant", "no user with a relevant item", "at least one", todo))
    items = np.empty((len(users), min(k, seen.shape[1])), dtype=np.int64)
    hits = np.empty(items.shape, dtype=np.bool_)
    for part, best, _ in top_blocks(scores, seen, users, k, tile=tile, held=held):
        items[part] = best.numpy()
        hits[part] = _among(items[part], truth[users[part]])
    return Ranked(users, items, hits, counts[users], seen.shape[1])


def top_blocks(
    scores: Scores, seen: csr_array, users: NDArray[np.int64], k: int, *, tile: int = TILE, held: int = SCORES
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The ``k`` best items that each of ``users`` has not seen, block of users after block: for lists of everybody.

    Yields:
        the block's place in ``users``; items ``(b, k)`` int64 on the CPU, the best first, -1 where none is left; their
        scores, minus infinity there. ``k`` is at most the number of items.

    Raises:
        ShapeError: a score that is NaN.
        ConfigError: a ``k``, ``tile`` or ``held`` below 1.
    """
    for name, value in (("k", k), ("tile", tile), ("held", held)):
        _check.at_least(name, value)
    width = seen.shape[1]
    tile = min(tile, width)
    size = max(1, held // tile)
    for start in range(0, len(users), size):
        part = slice(start, start + size)
        best = _best_of_block(scores, users[part], seen[users[part]], min(k, width), tile)
        values, items = best[0].cpu(), best[1].cpu()
        yield part, items.masked_fill_(values == -torch.inf, -1), values


def _best_of_block(
    scores: Scores, users: NDArray[np.int64], seen: csr_array, k: int, tile: int
) -> tuple[Tensor, Tensor]:
    """Values and items of the ``k`` best of each user, merged from tile to tile; earlier tiles have the lower items."""
    rows = torch.from_numpy(users)
    line = np.repeat(np.arange(len(users)), np.diff(seen.indptr))
    best: tuple[Tensor, Tensor] | None = None
    for start in range(0, seen.shape[1], tile):
        columns = slice(start, min(start + tile, seen.shape[1]))
        made = scores(rows, columns).contiguous()
        _checked(made, rows, columns)
        _mask(made, line, seen.indices, columns)
        values, places = topk(made, min(k, made.shape[1]))
        best = (values, places) if best is None else merge(best, (values, places + start), k)
    assert best is not None
    return best


def _checked(made: Tensor, rows: Tensor, columns: slice) -> None:
    """The right shape, and no NaN: the largest value is one where any is, and is quicker had than a look at each."""
    wanted = (len(rows), columns.stop - columns.start)
    if made.shape != wanted:
        raise ShapeError(message("scores", f"shape {tuple(made.shape)}", f"{wanted}: a row a user, a column an item"))
    if bool(made.amax().isnan()):
        user = int(rows[made.isnan().any(dim=1).nonzero()[0, 0].cpu()])
        todo = "Look at that user's vector, and at the training log for a loss that was not finite."
        raise ShapeError(message("scores", f"NaN for user {user}", "numbers", todo))


def _mask(made: Tensor, line: NDArray[np.int64], items: NDArray[np.integer], columns: slice) -> None:
    """Minus infinity where an item of the tile was seen, in place; one scatter for the whole block."""
    inside = (items >= columns.start) & (items < columns.stop)
    flat = line[inside] * made.shape[1] + items[inside] - columns.start
    made.view(-1).index_fill_(0, torch.from_numpy(flat).to(made.device), -torch.inf)


def _among(items: NDArray[np.int64], truth: csr_array) -> NDArray[np.bool_]:
    """Whether each of ``(b, k)`` items is stored in its row of ``(b, M)`` ``truth``, whose columns are sorted."""
    width = truth.shape[1]
    keys = np.repeat(np.arange(len(items)), np.diff(truth.indptr)) * width + truth.indices  # rising
    asked = np.arange(len(items))[:, None] * width + items
    place = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    found: NDArray[np.bool_] = (keys[place] == asked) & (items >= 0)
    return found
