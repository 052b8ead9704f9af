"""BYOL's and SimSiam's objective: both normalisations, the stopped gradient, and rows without direction."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import NegativeCosine, negative_cosine

pytestmark = pytest.mark.unit


def rows(samples: int = 5, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(samples, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_cosine(predictions: Tensor, targets: Tensor) -> float:
    cosines = []
    for p, t in zip(predictions.tolist(), targets.tolist(), strict=True):
        product = sum(x * y for x, y in zip(p, t, strict=True))
        cosines.append(product / math.hypot(*p) / math.hypot(*t))
    return sum(cosines) / len(cosines)


def test_equals_the_plain_formula_in_both_normalisations() -> None:
    predictions, targets = rows(), rows(seed=1)
    cosine = mean_cosine(predictions, targets)
    byol = NegativeCosine()(predictions, targets)
    assert float(byol.loss) == pytest.approx(2 - 2 * cosine, rel=1e-12)
    assert float(NegativeCosine("simsiam")(predictions, targets).loss) == pytest.approx(-cosine, rel=1e-12)
    assert float(byol.parts["cosine"]) == pytest.approx(cosine, rel=1e-12)


def test_byol_is_the_squared_distance_of_unit_vectors() -> None:
    predictions, targets = rows(), rows(seed=1)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (predictions, targets)]
    squared = (unit[0] - unit[1]).square().sum(dim=1).mean()
    torch.testing.assert_close(negative_cosine(predictions, targets).loss, squared)


def test_limits() -> None:
    x = rows()
    assert float(negative_cosine(x, x).loss) == pytest.approx(0, abs=1e-14)
    assert float(negative_cosine(x, -x).loss) == pytest.approx(4)
    assert float(negative_cosine(x, x, "simsiam").loss) == pytest.approx(-1)
    across = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 0.0]])
    assert float(negative_cosine(*across).loss) == 2


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(0, 10**6))
def test_lengths_do_not_matter(first: float, second: float, seed: int) -> None:
    predictions, targets = rows(seed=seed), rows(seed=seed + 1)
    expected = negative_cosine(predictions, targets).loss
    torch.testing.assert_close(negative_cosine(first * predictions, second * targets).loss, expected)


@pytest.mark.parametrize("normalisation", ["byol", "simsiam"])
def test_gradient_is_right_and_stops_at_the_target(normalisation: str) -> None:
    predictions, targets = rows().requires_grad_(), rows(seed=1).requires_grad_()
    fixed = targets.detach()
    assert torch.autograd.gradcheck(lambda p: negative_cosine(p, fixed, normalisation).loss, (predictions,))
    negative_cosine(predictions, targets, normalisation).loss.backward()
    assert targets.grad is None
    # A length cannot matter, so the gradient is at right angles to the row.
    assert (predictions.grad * predictions).sum(dim=1).abs().max() < 1e-14


def test_collapse_has_the_lowest_loss_and_so_there_is_no_chance_level() -> None:
    constant = torch.ones(4, 3)
    assert float(NegativeCosine()(constant, constant).loss) == pytest.approx(0, abs=1e-6)
    assert NegativeCosine().chance(4) is None


@pytest.mark.parametrize("length", [0.0, 1e-30])
def test_a_row_without_direction_has_cosine_zero_and_no_gradient(length: float) -> None:
    predictions = torch.full((2, 3), length)
    predictions[1] = 1.0
    predictions.requires_grad_()
    result = negative_cosine(predictions, torch.ones(2, 3), "simsiam")
    result.loss.backward()
    assert float(result.loss.detach()) == pytest.approx(-0.5)
    assert predictions.grad[0].abs().max() == 0
    assert predictions.grad.isfinite().all()


def test_a_nan_is_not_swallowed() -> None:
    predictions = rows()
    predictions[2, 1] = float("nan")
    assert negative_cosine(predictions, rows(seed=1)).loss.isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    predictions, targets = (300 * rows()).to(dtype), rows(seed=1).to(dtype)  # squares overflow float16
    loss = negative_cosine(predictions, targets).loss
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(2 - 2 * mean_cosine(predictions.double(), targets.double()), rel=1e-5)


def test_one_sample_is_enough() -> None:
    assert float(negative_cosine(rows(1), rows(1)).loss) == pytest.approx(0, abs=1e-14)


def test_the_reduction_is_declared_and_halves_average_to_the_whole() -> None:
    assert NegativeCosine.reduction == "mean"
    predictions, targets = rows(6), rows(6, seed=1)
    halves = [negative_cosine(predictions[i : i + 3], targets[i : i + 3]).loss for i in (0, 3)]
    torch.testing.assert_close(sum(halves) / 2, negative_cosine(predictions, targets).loss)


def test_what_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"targets: found shape \(4, 4\); allowed: \(5, 4\) as in predictions"):
        negative_cosine(rows(), rows(4))
    with pytest.raises(ShapeError, match=r"predictions: found shape \(5,\); allowed: \(B, D\)"):
        negative_cosine(torch.zeros(5), torch.zeros(5))
    with pytest.raises(ShapeError, match=r"targets: found torch.int64; allowed: floating point"):
        negative_cosine(torch.zeros(5, 2), torch.zeros(5, 2, dtype=torch.int64))
    with pytest.raises(
        ConfigError, match=r"normalisation: found 'simsam'; allowed: 'byol' or 'simsiam'\. .*'simsiam'\?"
    ):
        NegativeCosine("simsam")
