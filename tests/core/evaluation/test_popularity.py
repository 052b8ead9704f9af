"""The long tail: groups, their part of the recall, coverage, novelty, Gini and Lorenz."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import ShapeError
from counterpoint.evaluation.popularity import (
    GROUPS,
    concentration,
    coverage,
    exposure,
    group_recall,
    lorenz,
    novelty,
    popularity_groups,
)
from counterpoint.evaluation.ranking import Ranked

pytestmark = pytest.mark.unit


def lists(items: list[list[int]], hits: list[list[int]], relevant: list[int], n_items: int) -> Ranked:
    return Ranked(np.arange(len(items)), np.array(items), np.array(hits, dtype=bool), np.array(relevant), n_items)


def test_eighty_percent_are_unpopular_and_five_popular() -> None:
    counts = np.random.default_rng(0).permutation(np.arange(1, 101))
    groups = popularity_groups(counts)
    assert np.bincount(groups).tolist() == [80, 15, 5]
    assert counts[groups == 0].max() < counts[groups == 1].min()
    assert counts[groups == 1].max() < counts[groups == 2].min()


def test_items_that_nobody_touched_take_no_share_and_ties_go_by_number() -> None:
    groups = popularity_groups(np.array([0, 3, 3, 3, 3, 3, 0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]))
    assert groups.tolist() == [0, 2, 1, 1, 1, 0] + [0] * 16
    assert popularity_groups([5]).tolist() == [2]
    assert popularity_groups([0, 0]).tolist() == [0, 0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), users=st.integers(1, 20), items=st.integers(1, 40), k=st.integers(1, 6))
def test_the_parts_add_up_to_the_recall(seed: int, users: int, items: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    k = min(k, items)
    shown = rng.permuted(np.tile(np.arange(items), (users, 1)), axis=1)[:, :k]
    hits = rng.random(shown.shape) < 0.4
    relevant = hits.sum(axis=1) + rng.integers(1, 4, users)
    ranked = Ranked(np.arange(users), shown, hits, relevant, items)
    parts = group_recall(ranked, popularity_groups(rng.integers(0, 9, items)), k)
    assert tuple(parts) == GROUPS
    np.testing.assert_allclose(sum(parts.values()), ranked.recall(k))


def test_each_hit_is_in_the_group_of_its_item() -> None:
    groups = np.array([2, 1, 0, 0], dtype=np.int8)
    ranked = lists([[0, 2], [3, -1]], [[1, 1], [1, 0]], [4, 2], 4)
    parts = {name: part.tolist() for name, part in group_recall(ranked, groups, 2).items()}
    assert parts == {"unpopular": [0.25, 0.5], "normal": [0.0, 0.0], "popular": [0.25, 0.0]}


def test_exposure_coverage_and_novelty_by_hand() -> None:
    ranked = lists([[0, 2], [0, -1], [0, 3]], [[0, 0]] * 3, [1, 1, 1], 5)
    assert exposure(ranked, 2).tolist() == [3, 0, 1, 1, 0]
    assert exposure(ranked, 1).tolist() == [3, 0, 0, 0, 0]
    assert coverage(ranked, 2) == 3 / 5
    # 8 users: item 0 is had by all (0 bits), item 2 by two (2 bits), item 3 by none, as if by one (3 bits)
    assert novelty(ranked, [8, 1, 2, 0, 5], 8, 2) == pytest.approx((3 * 0 + 2 + 3) / 5)
    assert novelty(ranked, [8, 1, 2, 0, 5], 8, 1) == 0.0


def test_concentration_of_equal_and_of_one() -> None:
    assert concentration([4, 4, 4, 4]) == pytest.approx(0.0)
    assert concentration([0, 0, 0, 4]) == pytest.approx(3 / 4)
    assert concentration([0, 0]) == 0.0
    amounts = np.random.default_rng(1).integers(0, 50, 30)
    apart = np.abs(amounts[:, None] - amounts).mean()
    assert concentration(amounts) == pytest.approx(apart / (2 * amounts.mean()))


def test_the_lorenz_curve_bends_by_the_concentration() -> None:
    amounts = np.random.default_rng(2).integers(0, 50, 400)
    x, y = lorenz(amounts)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(y) >= 0).all()
    assert 1 - 2 * np.trapezoid(y, x) == pytest.approx(concentration(amounts))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: popularity_groups([[1, 2]]), r"counts: found shape \(1, 2\)"),
        (lambda: popularity_groups([]), r"counts: found shape \(0,\)"),
        (lambda: popularity_groups([1, -1]), "the value -1"),
        (lambda: novelty(lists([[0]], [[0]], [1], 3), [1, 1], 2, 1), r"shape \(3,\)"),
        (lambda: lorenz([0, 0]), "only zeros"),
    ],
)
def test_what_cannot_be_is_named(call: object, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        call()


def test_self_information_is_in_bits() -> None:
    assert novelty(lists([[0]], [[0]], [1], 1), [1], 1024, 1) == pytest.approx(math.log2(1024))
