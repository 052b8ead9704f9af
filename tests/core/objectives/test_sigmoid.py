"""The sigmoid loss against its formula written out, and what its bias and temperature do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from counterpoint.objectives import Sigmoid, _rows, sigmoid_loss
from counterpoint.objectives.kernel import softplus_sum

pytestmark = pytest.mark.unit

T, BIAS = 0.25, -1.5


def draw(views: int, size: int) -> list[Tensor]:
    rows = torch.randn(views + 1, size, 4, generator=torch.Generator().manual_seed(views), dtype=torch.float64)
    return [(row + rows[0]).requires_grad_() for row in rows[1:]]


def dense(a: Tensor, b: Tensor, ids: list[int], queue: Tensor | None) -> Tensor:
    x, y = normalize(a), normalize(b)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(a)):
        for j in range(len(b)):
            logit = x[i] @ y[j] / T + BIAS
            if i == j or ids[i] != ids[j]:
                total = total - logsigmoid(logit if i == j else -logit)
        if queue is not None:
            total = total - logsigmoid(-(normalize(queue) @ x[i] / T + BIAS)).sum()
    return total / len(a)


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("ids", [None, [7, 3, 7, 1]])
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("whole", [1 << 20, 0])
def test_value_and_gradient_are_the_formula(
    whole: int, views: int, ids: list[int] | None, queued: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rows, "SMALL", whole)
    rows = draw(views, 4)
    queue = torch.randn(3, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64) if queued else None
    pairs = [(a, b) for a in range(views) for b in range(a + 1, views)]
    expected = sum(dense(rows[a], rows[b], ids or [0, 1, 2, 3], queue) for a, b in pairs) / len(pairs)
    given = None if ids is None else torch.tensor(ids)
    ours = sigmoid_loss(rows, given, queue, temperature=T, bias=BIAS).loss
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(ours, rows), torch.autograd.grad(expected, rows), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_siglip_form() -> None:
    """``-1/B sum log sigmoid(y (t x.y + b))`` with y = 1 on the diagonal, -1 elsewhere, as the paper prints it."""
    image, text = draw(2, 6)
    logits = 10.0 * normalize(image) @ normalize(text).t() - 10.0
    expected = -logsigmoid(logits * (2 * torch.eye(6, dtype=torch.float64) - 1)).sum() / 6
    objective = Sigmoid().double()
    result = objective([image, text])
    torch.testing.assert_close(result.loss, expected, rtol=1e-6, atol=0)
    probability = torch.sigmoid(logits.diagonal()).mean()
    torch.testing.assert_close(result.parts["p_positive"], probability.detach(), rtol=1e-6, atol=0)
    assert {n for n, p in objective.named_parameters() if p.requires_grad} == {"bias", "temperature.log_scale"}


@pytest.mark.parametrize("tile", [None, 200])
def test_small_terms_are_not_lost_in_float32(tile: int | None) -> None:
    """exp(-20) next to 1 is below float32's resolution; a million such pairs are not nothing."""
    size = 1000
    same = torch.ones(size, 1)
    ours = softplus_sum(same, -same, 10.0, -10.0, tile=tile)
    assert float(ours) == pytest.approx(size**2 * math.log1p(math.exp(-20.0)), rel=1e-5)


def test_one_step_downhill_lowers_the_loss() -> None:
    objective = Sigmoid(0.5, bias=0.0)
    rows = [r.detach().float() for r in draw(2, 8)]
    before = objective(rows).loss
    before.backward()
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter -= 0.05 * parameter.grad
    assert objective.bias.item() < 0 < (before - objective(rows).loss).item()


def test_chance_is_the_best_constant() -> None:
    size = 6
    objective = Sigmoid()
    level = objective.chance(size)
    best = min(math.log1p(math.exp(-x / 100)) + (size - 1) * math.log1p(math.exp(x / 100)) for x in range(-1000, 1000))
    assert level == pytest.approx(best, rel=1e-4) and level <= best
    assert objective.chance(1) is None
