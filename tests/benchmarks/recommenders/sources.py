"""Interactions to compare on, split once and the same for every framework."""

from __future__ import annotations

import functools

import numpy as np

from counterpoint.errors import CounterpointError
from counterpoint_graphrec.data import InteractionArrays, Interactions, MovieLens
from recommenders.case import Split

MOVIELENS = "movielens-100k"
DRAWN = "douban-book, 3,000 users"
"""The draw of the claims."""


@functools.cache
def source(name: str) -> Split | str:
    """The split of a real data set by the plugin's defaults, or why it is not there; ``generated``: a tiny one."""
    if name == "generated":
        return generated(300, 200, 8000)
    try:
        dataset: Interactions = _opened(name)
    except CounterpointError as error:
        return str(error).partition("\n")[0]
    parts = (dataset.pairs_of(split) for split in ("train", "val", "test"))
    return Split(*parts, dataset.n_users, dataset.n_items)


def _opened(name: str) -> Interactions:
    if name == MOVIELENS:
        return MovieLens(name)
    if name == DRAWN:
        return InteractionArrays("douban-book", split="random", draw_users=3000, core=5)
    return InteractionArrays(name)


def generated(n_users: int, n_items: int, pairs: int, seed: int = 0) -> Split:
    """About ``pairs`` distinct interactions, popularity as 1 / rank; of every ten one is val and two are test."""
    random = np.random.default_rng(seed)
    drawn = int(1.3 * pairs)  # some repeat
    items = (n_items ** random.random(drawn)).astype(np.int64) - 1
    keys = np.unique(random.integers(n_users, size=drawn) * n_items + items)
    part = random.random(len(keys)) * len(keys) / pairs
    parts = (keys[(part >= least) & (part < most)] for least, most in ((0, 0.7), (0.7, 0.8), (0.8, 1)))
    return Split(*(np.stack([keys // n_items, keys % n_items], axis=1) for keys in parts), n_users, n_items)
