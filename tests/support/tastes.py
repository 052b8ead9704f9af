"""A small table of interactions: two circles of taste, a long tail, users and items that train does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from counterpoint_graphrec.data import InteractionArrays

USERS, ITEMS = 60, 50
NEWCOMER, NOVELTY = 0, ITEMS - 1
"""A user and an item that train does not know."""


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    """Pairs of each split: half of the users like even items, half odd ones, low numbers more."""
    rng = np.random.default_rng(seed)
    likes = (np.arange(USERS)[:, None] + np.arange(ITEMS)) % 2 == 0
    touched = rng.random((USERS, ITEMS)) < np.where(likes, 0.7, 0.08) * np.linspace(1.2, 0.3, ITEMS)
    part = rng.choice(3, p=[0.6, 0.15, 0.25], size=touched.shape)
    part[NEWCOMER], part[:, NOVELTY] = 2, 1
    touched[NEWCOMER, :4] = touched[1, NOVELTY] = True
    return {split: np.argwhere(touched & (part == number)) for number, split in enumerate(("train", "val", "test"))}


def table(folder: Path, **changes: np.ndarray) -> InteractionArrays:
    """The table, opened; ``changes`` replace a split."""
    titles = np.array([f"Film {number}" for number in range(ITEMS)])
    path = folder / "small.npz"
    np.savez(path, **{**drawn(), "n_users": USERS, "n_items": ITEMS, "titles": titles, **changes})
    return InteractionArrays(str(path))
