"""A small table of who touched what, as the graph plugin reads it: each user has items in train and one in test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counterpoint_graphrec.data import InteractionArrays


def clicks(folder: Path, users: int = 12, items: int = 9, seed: int = 0) -> InteractionArrays:
    """``users`` who touched 3 to 5 of ``items`` each; the last item is touched by nobody."""
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(items - 1, rng.integers(3, 6), replace=False) for _ in range(users)]
    pairs = [(user, item) for user, own in enumerate(chosen) for item in own]
    last = np.cumsum([len(own) for own in chosen]) - 1
    rest = np.setdiff1d(np.arange(len(pairs)), last)
    place = folder / f"clicks-{users}-{items}-{seed}.npz"
    table = np.array(pairs)
    none = np.zeros((0, 2), dtype=np.int64)
    np.savez(place, train=table[rest], val=none, test=table[last], n_users=users, n_items=items)
    return InteractionArrays(str(place))
