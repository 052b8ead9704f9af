"""The tiled softmax mean against the dense formula in float64: value, gradient, tiles, nothing to average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.objectives.kernel import Pairs, softmax_mean

pytestmark = pytest.mark.unit

IDS, OTHERS = torch.tensor([0, 1, 2, 1, 5]), torch.tensor([1, 1, 3, 0, 2, 1, 4])


def draw() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, c = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (5, 7))
    return (a / a.norm(dim=1, keepdim=True)).requires_grad_(), (c / c.norm(dim=1, keepdim=True)).requires_grad_()


def dense(a: Tensor, c: Tensor, scale: float, held: bool) -> tuple[Tensor, Tensor]:
    cosine = a @ c.t()
    logits = (scale * cosine).masked_fill(IDS[:, None] == OTHERS, -torch.inf)
    weight = logits.softmax(1)
    return logits.logsumexp(1), ((weight.detach() if held else weight) * cosine).sum(1)


@pytest.mark.parametrize("tile", [None, 1, 3, 100])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("scale", [0.0, 2.0, 400.0])
def test_value_and_gradient_are_the_formula(scale: float, held: bool, tile: int | None) -> None:
    a, c = draw()
    for bound in (None, scale):
        ours = softmax_mean(a, c, scale, pairs=Pairs(ids=(IDS, OTHERS)), held=held, bound=bound, tile=tile)
        theirs = dense(a, c, scale, held)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert ours[0].requires_grad == (not held)
        slopes = torch.arange(1.0, 6.0, dtype=torch.float64)
        totals = [(m * slopes).sum() + (0 if held else (t * slopes.flip(0)).sum()) for t, m in (ours, theirs)]
        for mine, expected in zip(*(torch.autograd.grad(total, [a, c]) for total in totals)):
            torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-11)


def test_only_the_anchors_learn() -> None:
    a, c = draw()
    ours = softmax_mean(a, c.detach(), 3.0, pairs=Pairs(ids=(IDS, OTHERS)), held=True, tile=2)[1].sum()
    expected = torch.autograd.grad(dense(a, c, 3.0, True)[1].sum(), a)
    torch.testing.assert_close(torch.autograd.grad(ours, a), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("scale", [2.0, 400.0])
def test_nothing_to_average_is_zero_without_gradient(scale: float, held: bool) -> None:
    a, c = draw()
    same = torch.zeros(5, dtype=torch.int64), torch.zeros(7, dtype=torch.int64)
    total, mean = softmax_mean(a, c, scale, pairs=Pairs(ids=same), held=held)
    assert torch.equal(total, torch.full_like(total, -math.inf)) and torch.equal(mean, torch.zeros_like(mean))
    for gradient in torch.autograd.grad(mean.sum(), [a, c]):
        assert torch.equal(gradient, torch.zeros_like(gradient))
