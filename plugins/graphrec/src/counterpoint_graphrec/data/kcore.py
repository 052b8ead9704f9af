"""The k-core: users and items with at least k interactions, among each other."""

from __future__ import annotations

import numpy as np

from counterpoint.errors import ConfigError, DataError, message


def kcore(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """``(N,)`` bool: which interactions are in the k-core. Leaving some out leaves others too few, so it repeats.

    Args:
        users: ``(N,)`` user numbers; pairs are distinct.
        items: ``(N,)`` item numbers.
        k: interactions that each user and item keeps at least.

    Raises:
        ConfigError: ``k`` is negative.
        DataError: nothing is left; the message says up to which ``k`` something is.
    """
    if k < 0:
        raise ConfigError(message("core", k, "0 (all) or the number of interactions that each user and item has"))
    kept = _core(users, items, k)
    if len(users) and not len(kept):
        most = _largest(users, items, k)
        raise DataError(message("core", f"{k}, which leaves nothing", f"0 to {most} for these data"))
    mask = np.zeros(len(users), dtype=bool)
    mask[kept] = True
    return mask


def _core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    rows = np.arange(len(users))
    while len(rows):
        enough = (np.bincount(users)[users] >= k) & (np.bincount(items)[items] >= k)
        if enough.all():
            break
        users, items, rows = users[enough], items[enough], rows[enough]
    return rows


def _largest(users: np.ndarray, items: np.ndarray, above: int) -> int:
    """The largest k whose core is not empty, by halving."""
    low, high = 1, above
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(_core(users, items, middle)) else (low, middle)
    return low
