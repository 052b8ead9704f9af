"""Whom a ranking serves: how much of the catalogue is shown, and how much of what is found is popular anyway.

All take `evaluation.ranking`'s result, and counts of interactions per item, which should be those of training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counterpoint.errors import ShapeError, message
from counterpoint.evaluation.ranking import Ranked

GROUPS = ("unpopular", "normal", "popular")
UNPOPULAR, POPULAR = 0.80, 0.05
"""Shares of the items that are called so; the rest is normal."""


def popularity_groups(counts: ArrayLike) -> NDArray[np.int8]:
    """Index into `GROUPS` of each item: the 80 % least popular, the 5 % most popular, and those between.

    Shares are of the items that were touched at all (rounded; one item at least is popular). Equally popular items go
    by number, the lower counting as the more popular; items that nobody touched are unpopular.

    Args:
        counts: ``(M,)`` interactions per item.

    Raises:
        ShapeError: another shape, or a negative count.

    Source: Yu et al. 2022 (SimGCL), long-tail analysis.
    """
    found = _counts(counts, None)
    touched = int((found > 0).sum())
    popular = min(touched, max(1, round(POPULAR * touched)))
    unpopular = min(touched - popular, round(UNPOPULAR * touched))
    groups = np.zeros(len(found), dtype=np.int8)
    falling = np.argsort(-found, kind="stable")
    groups[falling[: touched - unpopular]] = 1
    groups[falling[:popular]] = 2
    return groups


def group_recall(ranked: Ranked, groups: NDArray[np.int8], k: int) -> dict[str, NDArray[np.float64]]:
    """What each group of `GROUPS` contributes to ``ranked.recall(k)``, user by user: the three add up to it.

    A hit in a group counts ``1 / relevant`` whatever the relevant item's group, so a group's largest value is its share
    among the relevant items.
    """
    ranked.found(k)
    of_item = groups[ranked.items[:, :k]]  # -1 reads the last item's group, but is no hit
    hits = ranked.hits[:, :k]
    parts = {name: (hits & (of_item == number)).sum(axis=1) for number, name in enumerate(GROUPS)}
    return {name: found / ranked.relevant for name, found in parts.items()}


def exposure(ranked: Ranked, k: int) -> NDArray[np.int64]:
    """How often each item is in somebody's top ``k``: ``(M,)``."""
    ranked.found(k)
    shown = ranked.items[:, :k]
    return np.bincount(shown[shown >= 0], minlength=ranked.n_items)


def coverage(ranked: Ranked, k: int) -> float:
    """Share of all items that is in anybody's top ``k``; it grows with the number of users."""
    return float((exposure(ranked, k) > 0).mean())


def novelty(ranked: Ranked, counts: ArrayLike, n_users: int, k: int) -> float:
    """Mean self-information ``-log2(count / n_users)`` of what is shown, in bits: 0 where everybody has it already.

    An item that nobody touched counts as touched once.

    Args:
        ranked: the lists.
        counts: ``(M,)`` interactions per item.
        n_users: how many users they come from.
        k: length of the lists.

    Source: Zhou et al. 2010.
    """
    bits = np.log2(n_users / np.maximum(_counts(counts, ranked.n_items), 1))
    shown = exposure(ranked, k)
    return float(shown @ bits / max(1, shown.sum()))


def concentration(shares: ArrayLike) -> float:
    """Gini index of ``(M,)`` amounts, e.g. of an `exposure`: 0 where all are equal, near 1 where one has everything."""
    rising = np.sort(_counts(shares, None)).astype(np.float64)
    total, n = rising.sum(), len(rising)
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ rising / (n * total))


def lorenz(shares: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the total that the share ``x`` of the items with least has: both ``(M + 1,)``, from (0, 0) to (1, 1).

    Raises:
        ShapeError: another shape, a negative amount, or nothing at all.
    """
    rising = np.sort(_counts(shares, None)).astype(np.float64)
    if rising.sum() == 0:
        raise ShapeError(message("shares", "only zeros", "amounts of which one at least is not 0"))
    part = np.concatenate([[0.0], np.cumsum(rising) / rising.sum()])
    return np.linspace(0, 1, len(part)), part


def _counts(counts: ArrayLike, n_items: int | None) -> NDArray[np.int64]:
    found = np.asarray(counts)
    wanted = "(M,), one per item" if n_items is None else f"({n_items},), one per item"
    if found.ndim != 1 or len(found) == 0 or (n_items is not None and len(found) != n_items):
        raise ShapeError(message("counts", f"shape {found.shape}", f"shape {wanted}"))
    if found.min() < 0:
        raise ShapeError(message("counts", f"the value {found.min()}", "counts >= 0"))
    return found
