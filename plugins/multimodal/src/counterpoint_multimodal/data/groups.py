"""Samples that belong together, through anything that two of them share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def connected(texts: Sequence[Sequence[str]], pictures: Sequence[Hashable]) -> np.ndarray:
    """``(N,)`` int64: the number of the first sample to which each is linked, itself if to none.

    Args:
        texts: of each sample; those with one in common are linked.
        pictures: of each sample; those with the same one are linked.
    """
    keys: dict[Hashable, int] = {}
    rows, columns = [], []
    for number, (own, picture) in enumerate(zip(texts, pictures)):
        for key in (("picture", picture), *(("text", text) for text in own)):
            rows.append(number)
            columns.append(keys.setdefault(key, len(keys)))
    count = len(texts)
    size = count + len(keys)
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, np.add(columns, count))), shape=(size, size))
    component = connected_components(links, directed=False)[1][:count]
    first, inverse = np.unique(component, return_index=True, return_inverse=True)[1:]
    return np.asarray(first[inverse], dtype=np.int64)
