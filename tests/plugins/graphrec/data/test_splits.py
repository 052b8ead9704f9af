"""Splits: shares for each user, the last, by time, and what completes official parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.errors import ConfigError, DataError
from counterpoint_graphrec.data.mixing import mixed
from counterpoint_graphrec.data.splits import by_time, check_fractions, complete, leave_one_out, randomly

pytestmark = pytest.mark.unit

SHARES = (0.7, 0.1, 0.2)


def log(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Users with this many items each."""
    users = np.repeat(np.arange(len(counts)), counts)
    return users, np.concatenate([np.arange(count) for count in counts])


def per_user(users: np.ndarray, parts: np.ndarray) -> list[list[int]]:
    return [np.bincount(parts[users == user], minlength=3).tolist() for user in range(users.max() + 1)]


def test_shares_of_each_user():
    users, items = log([1, 2, 3, 4, 10, 100])
    wanted = [[1, 0, 0], [1, 0, 1], [1, 1, 1], [2, 1, 1], [7, 1, 2], [70, 10, 20]]
    assert per_user(users, randomly(users, items, SHARES, 0)) == wanted
    assert per_user(users, randomly(users, items, (0.8, 0.0, 0.2), 0))[1:3] == [[1, 0, 1], [2, 0, 1]]
    assert per_user(users, randomly(users, items, (1.0, 0.0, 0.0), 0))[5] == [100, 0, 0]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(0, 5))
def test_train_keeps_one_and_test_gets_one_where_there_are_two(counts, seed):
    users, items = log(counts)
    for (train, val, test), count in zip(per_user(users, randomly(users, items, SHARES, seed)), counts):
        assert train + val + test == count and train >= 1
        assert (test >= 1) == (count > 1) and (val >= 1) == (count > 2)


def test_the_draw_depends_on_seed_and_pair_only():
    users, items = log([50, 50])
    parts = randomly(users, items, SHARES, 0)
    assert np.array_equal(parts, randomly(users, items, SHARES, 0))
    assert not np.array_equal(parts, randomly(users, items, SHARES, 1))
    assert not np.array_equal(parts[:50], parts[50:])
    assert np.array_equal(parts[:50], randomly(users[:50], items[:50], SHARES, 0))


def test_every_place_is_tested_as_often():
    users, items = log([10] * 4_000)
    share = (randomly(users, items, SHARES, 3) == 2).reshape(-1, 10).mean(0)
    assert np.abs(share - 0.2).max() < 0.03


def test_leave_one_out_takes_the_latest():
    users, items = log([1, 2, 4])
    times = np.array([5.0, 9.0, 1.0, 3.0, 4.0, 1.0, 2.0])
    assert leave_one_out(users, items, times, 0).tolist() == [0, 2, 0, 1, 2, 0, 0]
    assert per_user(users, leave_one_out(users, items, None, 0)) == [[1, 0, 0], [1, 0, 1], [2, 1, 1]]


def test_by_time_cuts_at_moments():
    times = np.array([5, 1, 2, 3, 4, 6, 7, 8, 9, 10], dtype=float)
    assert by_time(times, SHARES).tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 2, 2]
    tied = np.array([1, 1, 1, 1, 2, 2, 2, 2, 2, 2], dtype=float)
    parts = by_time(tied, SHARES)
    assert all(len(set(parts[tied == moment])) == 1 for moment in (1, 2)) and set(parts) == {0, 2}
    assert set(by_time(times, (0.8, 0.0, 0.2))) == {0, 2}


def test_by_time_needs_more_than_one_moment():
    with pytest.raises(DataError, match=r"'time', 100% of the interactions at the earliest moment; .*split='random'"):
        by_time(np.ones(5), SHARES)


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.1, 0.1), (0.5, 0.5), (-0.1, 0.1, 1.0), (0.0, 0.5, 0.5), (0.7, 0.2, 0.2), (float("nan"), 0, 1)]
)
def test_fractions_that_are_no_parts_of_a_whole(fractions):
    with pytest.raises(ConfigError, match=r"fractions: found .*; allowed: three shares .* that sum to 1"):
        check_fractions(fractions)
    check_fractions((0.7, 0.1, 0.2))
    check_fractions((0.8, 0.0, 0.2))


def test_official_test_stays_and_val_is_drawn_from_train():
    users, items = log([10, 10, 1])
    official = np.array([0] * 8 + [2] * 2 + [0] * 5 + [2] * 5 + [0], dtype=np.int8)
    parts = complete(users, items, official, None, SHARES, 0)
    assert np.array_equal(parts == 2, official == 2)
    assert per_user(users, parts) == [[7, 1, 2], [4, 1, 5], [1, 0, 0]]
    assert np.array_equal(complete(users, items, parts, None, SHARES, 1), parts)


def test_val_of_a_left_out_test_is_the_last_of_train():
    users, items = log([4, 4, 2])
    official = np.array([0, 0, 0, 2, 2, 0, 0, 0, 2, 0], dtype=np.int8)
    times = np.array([3, 1, 2, 9, 9, 1, 3, 2, 9, 1], dtype=float)
    assert complete(users, items, official, times, SHARES, 0).tolist() == [1, 0, 0, 2, 2, 0, 1, 0, 2, 0]


def test_a_missing_test_is_drawn_first():
    users, items = log([10])
    assert per_user(users, complete(users, items, np.zeros(10, dtype=np.int8), None, SHARES, 0)) == [[7, 1, 2]]


def test_mixed_numbers_are_distinct_positive_and_even():
    first, second = (side.reshape(-1) for side in np.indices((300, 300)))
    ids = mixed(first, second)
    assert ids.dtype == np.int64 and ids.min() > 0 and len(np.unique(ids)) == len(ids)
    assert abs(np.mean([bin(number).count("1") for number in ids[:2_000].tolist()]) - 31.5) < 0.5
    assert not np.array_equal(ids, mixed(first, second, seed=1))
