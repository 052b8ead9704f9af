"""Intervals, paired differences and accuracies against scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation.stats import accuracy, balanced_accuracy, paired_difference, summarize

pytestmark = pytest.mark.unit

VALUES = [0.61, 0.64, 0.6, 0.67, 0.63]


def test_five_seeds_use_the_t_of_the_card() -> None:
    found = summarize(VALUES)
    assert found.mean == pytest.approx(np.mean(VALUES))
    assert found.std == pytest.approx(np.std(VALUES, ddof=1))
    assert found.half == pytest.approx(2.7764 * found.std / math.sqrt(5), rel=1e-4)
    low, high = scipy_stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=scipy_stats.sem(VALUES))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, (1000, 4))
    covered = np.mean([(s := summarize(row.tolist())).low < 3 < s.high for row in draws])
    assert covered == pytest.approx(0.95, abs=0.03)


def test_normal_quantile_and_confidence() -> None:
    found = summarize(VALUES, normal=True)
    assert found.half == pytest.approx(1.959964 * found.std / math.sqrt(5))
    assert summarize(VALUES, confidence=0.5).half < found.half


def test_one_value_has_no_interval() -> None:
    found = summarize([0.5])
    assert math.isnan(found.half)
    assert math.isnan(found.std)
    assert str(found) == "0.5000"
    assert str(summarize([0.5, 0.5])) == "0.5000 ± 0.0000"


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(-5, 5))
def test_a_shift_moves_the_mean_alone(values: list[float], shift: float) -> None:
    a, b = summarize(values), summarize([v + shift for v in values])
    assert b.mean == pytest.approx(a.mean + shift, abs=1e-9)
    assert b.half == pytest.approx(a.half, abs=1e-6)


def test_paired_difference_is_scipys_paired_t_test() -> None:
    baseline = [0.55, 0.6, 0.57, 0.61, 0.58]
    found = paired_difference(VALUES, baseline)
    other = scipy_stats.ttest_rel(VALUES, baseline)
    assert found.p == pytest.approx(other.pvalue)
    interval = other.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.clear
    assert not paired_difference([0.5, 0.7], [0.6, 0.5]).clear


def test_pairing_sees_what_the_spread_of_seeds_hides() -> None:
    method, baseline = [0.51, 0.62, 0.73], [0.50, 0.605, 0.72]
    assert paired_difference(method, baseline).clear
    assert summarize(method).low < summarize(baseline).high


def test_paired_limits() -> None:
    same = paired_difference([1.0, 2.0], [1.0, 2.0])
    assert (same.p, same.clear) == (1.0, False)
    constant = paired_difference([2.0, 3.0], [1.0, 2.0])
    assert (constant.p, constant.clear) == (0.0, True)
    single = paired_difference([2.0], [1.0])
    assert math.isnan(single.p)
    assert not single.clear


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_accuracies_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    y, p = torch.tensor([a for a, _ in pairs]), torch.tensor([b for _, b in pairs])
    assert accuracy(p, y) == pytest.approx(accuracy_score(y, p))
    recalls = [float((p[y == c] == c).double().mean()) for c in y.unique()]
    assert balanced_accuracy(p, y) == pytest.approx(np.mean(recalls))


def test_balanced_accuracy_equals_scikit_learn() -> None:
    y, p = torch.tensor([0, 0, 0, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    assert balanced_accuracy(p, y) == pytest.approx(balanced_accuracy_score(y, p))
    assert balanced_accuracy(torch.zeros(6, dtype=torch.int64), y) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: summarize([]), ShapeError, r"values: found \[\]; allowed: one or more finite numbers"),
        (lambda: summarize([1.0, math.nan]), ShapeError, "values: found"),
        (
            lambda: summarize([1.0], confidence=95),
            ConfigError,
            "confidence: found 95; allowed: a number between 0 and 1",
        ),
        (
            lambda: paired_difference([1.0, 2.0], [1.0]),
            ShapeError,
            "baseline: found 1 values; allowed: 2, one per seed",
        ),
        (
            lambda: accuracy(torch.zeros(3), torch.zeros(2)),
            ShapeError,
            r"predictions: found shape \(3,\) beside labels",
        ),
        (lambda: balanced_accuracy(torch.zeros(0), torch.zeros(0)), ShapeError, "with M >= 1"),
    ],
)
def test_errors(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]
