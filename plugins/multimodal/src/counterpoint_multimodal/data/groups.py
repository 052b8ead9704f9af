"""Samples that belong together, through anything that two of them share."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from counterpoint.parts import content_id

SHARE = 10
"""Percent of the groups that go to each of val and test where a split is drawn."""


def connected(keys: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """``(N,)`` int64: the number of the first sample to which each is linked, its own if to none.

    Args:
        keys: of each sample; two that have one in common are linked, and through them further ones.
    """
    known: dict[Hashable, int] = {}
    rows, columns = [], []
    for number, own in enumerate(keys):
        for key in own:
            rows.append(number)
            columns.append(len(keys) + known.setdefault(key, len(known)))
    size = len(keys) + len(known)
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(size, size))
    component = connected_components(links, directed=False)[1][: len(keys)]
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], dtype=np.int64)


def shared_keys(captions: Iterable[str], *pictures: Hashable) -> list[Hashable]:
    """What links a sample to others: its captions, whatever the case of their letters, and its pictures."""
    texts = {caption.casefold() for caption in captions if caption}
    return [*(("text", text) for text in texts), *(("picture", picture) for picture in pictures)]


def completed(official: np.ndarray | None, groups: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """``(N,)`` split, 0 train, 1 val, 2 test: the official one, of which what is missing is drawn from train.

    Whole groups are drawn, by a hash of the first of their names: samples that come later change the part of those
    groups only whose first name they are.

    Args:
        official: ``(N,)``; None: all is drawn.
        groups: ``(N,)`` as `connected` gives them.
        names: of the samples.
    """
    drawn = draw(groups, names)
    if official is None:
        return drawn
    missing = [number for number in (1, 2) if not (official == number).any()]
    return np.where((official == 0) & np.isin(drawn, missing), drawn, official)


def draw(groups: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """``(N,)`` int64 split of whole groups, by a hash of the first of their names (see `completed`)."""
    least: dict[int, str] = {}
    for group, name in zip(groups.tolist(), names):
        least[group] = min(name, least.get(group, name))
    drawn = {group: content_id(name.encode("utf-8", "surrogateescape")) % 100 for group, name in least.items()}
    numbers = np.array([drawn[group] for group in groups.tolist()], dtype=np.int64)
    return np.where(numbers < SHARE, 2, np.where(numbers < 2 * SHARE, 1, 0))
