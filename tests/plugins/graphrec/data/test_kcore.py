"""The k-core against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint.errors import ConfigError, DataError
from counterpoint_graphrec.data.kcore import kcore

pytestmark = pytest.mark.unit


def plainly(pairs: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    """Take out one poor node after the other."""
    while True:
        users, items = [u for u, _ in pairs], [i for _, i in pairs]
        poor = {p for p in pairs if users.count(p[0]) < k or items.count(p[1]) < k}
        if not poor:
            return pairs
        pairs = pairs - poor


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_definition(k, seed):
    draw = np.random.default_rng(seed)
    pairs = sorted({(int(u), int(i)) for u, i in draw.integers(0, 12, (80, 2))})
    wanted = plainly(set(pairs), k)
    users, items = np.array(pairs).T
    kept = kcore(users, items, k)
    assert {pair for pair, keep in zip(pairs, kept) if keep} == wanted and len(wanted) > 3


def test_one_round_is_not_enough():
    users, items = np.array([0, 0, 1, 1, 2, 2, 3]), np.array([0, 1, 0, 1, 1, 2, 2])
    assert kcore(users, items, 2).sum() == len(plainly(set(zip(users.tolist(), items.tolist())), 2))


def test_nothing_left_names_the_largest_that_leaves_something():
    users, items = (side.reshape(-1) for side in np.indices((4, 3)))
    with pytest.raises(DataError, match=r"core: found 50, which leaves nothing; allowed: 0 to 3 for these data"):
        kcore(users, items, 50)
    assert kcore(users, items, 3).all()


def test_negative_k():
    with pytest.raises(ConfigError, match=r"core: found -1; allowed: 0 \(all\)"):
        kcore(np.array([0]), np.array([0]), -1)
