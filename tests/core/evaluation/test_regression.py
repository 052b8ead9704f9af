"""The measures of regression by hand, and the linear map of least absolute error beside a linear program."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import QuantileRegressor

from counterpoint.errors import ShapeError
from counterpoint.evaluation.regression import l1_regression, regression_metrics

pytestmark = pytest.mark.unit


def test_metrics_by_hand() -> None:
    truth, told = torch.tensor([1.0, 2.0, 4.0, math.nan]), torch.tensor([1.5, 2.0, 2.0, 9.0])
    found = regression_metrics(told, truth)
    assert found["mae"] == pytest.approx(2.5 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(4.25 / 3))
    assert found["gmae"] == pytest.approx((0.5 * 1e-5 * 2) ** (1 / 3))
    assert found["r2"] == pytest.approx(1 - 4.25 / (16 / 9 + 1 / 9 + 25 / 9))
    assert found["pearson"] == pytest.approx(stats.pearsonr([1.5, 2, 2], [1, 2, 4]).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr([1.5, 2, 2], [1, 2, 4]).statistic)


def test_perfect_and_constant_answers() -> None:
    truth = torch.arange(5.0)
    perfect = regression_metrics(truth, truth)
    assert (perfect["mae"], perfect["r2"]) == (0, 1) and perfect["pearson"] == pytest.approx(1)
    constant = regression_metrics(torch.full((5,), 2.0), truth)
    assert constant["r2"] == pytest.approx(0) and math.isnan(constant["pearson"]) and math.isnan(constant["spearman"])
    assert math.isnan(regression_metrics(torch.ones(1), torch.ones(1))["r2"])


def test_metrics_refuse_what_cannot_be_measured() -> None:
    for told, truth, found in (
        (torch.ones(2), torch.ones(3), r"shape \(2,\) beside targets \(3,\)"),
        (torch.ones(2), torch.full((2,), math.nan), "no known target"),
        (torch.tensor([1.0, math.nan]), torch.ones(2), "a prediction that is not finite"),
    ):
        with pytest.raises(ShapeError, match=found):
            regression_metrics(told, truth)


def test_l1_regression_is_that_of_a_linear_program() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(150, 4)) * [1, 10, 0.1, 1] + [0, 50, 0, 3]
    y = x @ [1, 0.2, -5, 0] + 7 + draw.laplace(size=150)
    y[:10] += 500  # outliers, which squares would follow
    weight, bias = l1_regression(torch.tensor(x), torch.tensor(y, dtype=torch.float32))
    exact = QuantileRegressor(quantile=0.5, alpha=0).fit(x, y)
    ours = np.abs(x @ weight.numpy() + bias - y).mean()
    assert ours == pytest.approx(np.abs(exact.predict(x) - y).mean(), rel=2e-3)
    assert np.abs(x @ weight.numpy() + bias - y)[10:].mean() < 1.5


def test_l1_regression_of_constant_and_collinear_features_and_unknown_targets() -> None:
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([x, 2 * x, torch.ones(50, 1)], dim=1)
    y = 3 * x[:, 0] - 1
    y[::7] = math.nan
    weight, bias = l1_regression(rows, y)
    torch.testing.assert_close((rows @ weight + bias)[1:7], (3 * x[:, 0] - 1)[1:7], rtol=1e-2, atol=1e-2)
    with pytest.raises(ShapeError, match="no known one"):
        l1_regression(rows, torch.full((50,), math.nan))
    with pytest.raises(ShapeError, match=r"targets: found shape \(3,\)"):
        l1_regression(rows, torch.ones(3))
