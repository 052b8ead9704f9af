"""BPR: the plain formula, its level of chance, its gradient, and scores far apart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ShapeError
from counterpoint.objectives import BPR, InfoNCE, bpr_loss
from counterpoint.objectives.base import Result

pytestmark = pytest.mark.unit


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_plain_formula_with_one_negative_and_with_several() -> None:
    positive, negative = scores(5), scores(5, 3, seed=1)
    terms = [-math.log(1 / (1 + math.exp(-(p - n)))) for p, row in zip(positive, negative) for n in row]
    assert float(BPR()(positive, negative).loss) == pytest.approx(sum(terms) / 15, rel=1e-12)
    torch.testing.assert_close(bpr_loss(positive, negative[:, 0]).loss, bpr_loss(positive, negative[:, :1]).loss)


def test_equal_scores_are_chance() -> None:
    result = bpr_loss(torch.full((4,), 3.0), torch.full((4, 2), 3.0))
    assert float(result.loss) == pytest.approx(math.log(2), rel=1e-6)
    assert BPR().chance(7) == math.log(2)
    assert float(result.parts["auc"]) == 0.5


def test_parts_tell_order_and_margin() -> None:
    parts = bpr_loss(torch.tensor([2.0, 2.0]), torch.tensor([[1.0, 2.0], [3.0, 0.0]])).parts
    assert float(parts["auc"]) == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert float(parts["margin"]) == pytest.approx((1 + 0 - 1 + 2) / 4)


def test_gradient_is_right_and_is_the_papers() -> None:
    positive, negative = scores(4).requires_grad_(), scores(4, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, n: bpr_loss(p, n).loss, (positive, negative))
    user, item, other = (scores(4, 3, seed=s).requires_grad_() for s in (2, 3, 4))
    x = (user * item).sum(1) - (user * other).sum(1)
    bpr_loss((user * item).sum(1), (user * other).sum(1)).loss.backward()
    expected = -(1 - torch.sigmoid(x))[:, None] * (item - other) / 4
    torch.testing.assert_close(user.grad, expected.detach())


def test_pairs_that_are_ranked_very_wrongly_still_teach() -> None:
    positive = torch.tensor([-200.0, 200.0], requires_grad=True)
    result: Result = bpr_loss(positive, torch.zeros(2))
    result.loss.backward()
    assert float(result.loss.detach()) == pytest.approx(100)
    torch.testing.assert_close(positive.grad, torch.tensor([-0.5, 0.0]))


def test_one_negative_is_info_nce_over_two_candidates() -> None:
    """Two unit rows a side: candidates of an anchor are its positive and the other's, at cosines c and d."""
    angle = torch.tensor([0.3, 1.9], dtype=torch.float64)
    first = torch.stack([angle.cos(), angle.sin()], 1)
    second = torch.stack([(angle + 0.4).cos(), (angle + 0.4).sin()], 1)
    table = first @ second.T
    expected = bpr_loss(table.diagonal(), table.fliplr().diagonal()).loss
    torch.testing.assert_close(InfoNCE(1.0, symmetric=False)([first, second]).loss, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    positive, negative = scores(5).to(dtype), scores(5, seed=1).to(dtype)
    loss = bpr_loss(positive, negative).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), bpr_loss(positive.double(), negative.double()).loss)


def test_the_reduction_is_declared_and_halves_average_to_the_whole() -> None:
    assert BPR.reduction == "mean"
    positive, negative = scores(6), scores(6, 2, seed=1)
    halves = [bpr_loss(positive[i : i + 3], negative[i : i + 3]).loss for i in (0, 3)]
    torch.testing.assert_close(sum(halves) / 2, bpr_loss(positive, negative).loss)


def test_what_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"positive_scores: found shape \(2, 2\); allowed: \(B,\)"):
        bpr_loss(scores(2, 2), scores(2))
    with pytest.raises(ShapeError, match=r"negative_scores: found shape \(3,\); allowed: \(2,\) or \(2, K\)"):
        bpr_loss(scores(2), scores(3))
    with pytest.raises(ShapeError, match=r"negative_scores: found torch.int64; allowed: floating point"):
        bpr_loss(scores(2), torch.zeros(2, dtype=torch.int64))
