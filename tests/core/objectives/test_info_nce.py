"""InfoNCE between views: CLIP's, MoCo's and the many-view form against formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from counterpoint.objectives import InfoNCE, info_nce_loss

pytestmark = pytest.mark.unit

T = 0.4


def draw(views: int, size: int, seed: int = 0) -> list[Tensor]:
    rows = torch.randn(views + 1, size, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [(row + rows[0]).requires_grad_() for row in rows[1:]]


def dense(a: Tensor, b: Tensor, ids: list[int], queue: Tensor | None) -> Tensor:
    """Mean over the rows of ``a``, term by term."""
    x, y = normalize(a), normalize(b)
    terms = []
    for i in range(len(a)):
        logits = [x[i] @ y[i] / T] + [x[i] @ y[j] / T for j in range(len(b)) if ids[j] != ids[i]]
        if queue is not None:
            logits += list(normalize(queue) @ x[i] / T)
        terms.append(torch.stack(logits).logsumexp(0) - logits[0])
    return torch.stack(terms).mean()


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("ids", [None, [7, 3, 7, 1]])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("views", [2, 3])
def test_value_and_gradient_are_the_formula(views: int, symmetric: bool, ids: list[int] | None, queued: bool) -> None:
    rows = draw(views, 4)
    queue = torch.randn(3, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64) if queued else None
    pairs = [(a, b) for a in range(views if symmetric else 1) for b in range(views) if a != b]
    expected = sum(dense(rows[a], rows[b], ids or [0, 1, 2, 3], queue) for a, b in pairs) / len(pairs)
    given = None if ids is None else torch.tensor(ids)
    ours = info_nce_loss(rows, given, queue, temperature=T, symmetric=symmetric).loss
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(ours, rows), torch.autograd.grad(expected, rows), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_clip() -> None:
    image, text = draw(2, 6)
    objective = InfoNCE(0.07, learnable_temperature=True).double()
    scale = torch.tensor(math.log(1 / 0.07), dtype=torch.float64, requires_grad=True)
    logits = scale.exp() * normalize(image) @ normalize(text).t()
    target = torch.arange(6)
    expected = (cross_entropy(logits, target) + cross_entropy(logits.t(), target)) / 2
    ours = objective([image, text])
    torch.testing.assert_close(ours.loss, expected, rtol=1e-6, atol=1e-8)
    ours.loss.backward()
    torch.testing.assert_close(
        objective.temperature.log_scale.grad, torch.autograd.grad(expected, scale)[0], rtol=1e-5, atol=1e-7
    )
    assert float(ours.parts["temperature"]) == pytest.approx(0.07)


def test_moco_v2() -> None:
    query, key = draw(2, 5)
    queue = normalize(torch.randn(9, 4, dtype=torch.float64))
    q, k = normalize(query), normalize(key.detach())
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.t()], 1) / T
    expected = cross_entropy(logits, torch.zeros(5, dtype=torch.int64))
    objective = InfoNCE(T, symmetric=False, in_batch=False)
    ours = objective([query, key.detach()], negatives=queue).loss
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    mine, theirs = torch.autograd.grad(ours, query)[0], torch.autograd.grad(expected, query)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    assert objective.chance(5) == pytest.approx(math.log(10))


def test_moco_v3() -> None:
    query, key = draw(2, 5)
    expected = cross_entropy(normalize(query) @ normalize(key).t() / T, torch.arange(5))
    torch.testing.assert_close(InfoNCE(T, symmetric=False)([query, key.detach()]).loss, expected)


def test_a_view_without_gradient_gets_none_and_changes_nothing() -> None:
    query, key = draw(2, 40)
    whole = torch.autograd.grad(InfoNCE(T)([query, key]).loss, query)[0]
    mixed = InfoNCE(T)([query, key.detach()]).loss
    torch.testing.assert_close(torch.autograd.grad(mixed, query)[0], whole, rtol=1e-10, atol=1e-12)


def test_chance_counts_the_candidates() -> None:
    assert InfoNCE().chance(8) == pytest.approx(math.log(8))
    assert InfoNCE(decoupled=True).chance(8) == pytest.approx(math.log(7))
