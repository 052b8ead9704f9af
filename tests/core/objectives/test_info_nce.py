"""InfoNCE between views: CLIP's, MoCo's and the many-view form against formulas written out."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from counterpoint.errors import ConfigError
from counterpoint.objectives import InfoNCE, info_nce_loss

pytestmark = pytest.mark.unit

T = 0.4


def draw(views: int, size: int, seed: int = 0) -> list[Tensor]:
    rows = torch.randn(views + 1, size, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [(row + rows[0]).requires_grad_() for row in rows[1:]]


def dense(a: Tensor, b: Tensor, ids: list[int], queue: Tensor | None, smoothing: float = 0.0) -> Tensor:
    """Mean over the rows of ``a``, term by term."""
    x, y = normalize(a), normalize(b)
    terms = []
    for i in range(len(a)):
        logits = [x[i] @ y[i] / T] + [x[i] @ y[j] / T for j in range(len(b)) if ids[j] != ids[i]]
        if queue is not None:
            logits += list(normalize(queue) @ x[i] / T)
        losses = -torch.stack(logits).log_softmax(0)
        terms.append((1 - smoothing) * losses[0] + smoothing * losses.mean())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("ids", [None, [7, 3, 7, 1]])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("views", [2, 3])
def test_value_and_gradient_are_the_formula(
    views: int, symmetric: bool, ids: list[int] | None, queued: bool, smoothing: float
) -> None:
    rows = draw(views, 4)
    queue = torch.randn(3, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64) if queued else None
    pairs = [(a, b) for a in range(views if symmetric else 1) for b in range(views) if a != b]
    expected = sum(dense(rows[a], rows[b], ids or [0, 1, 2, 3], queue, smoothing) for a, b in pairs) / len(pairs)
    given = None if ids is None else torch.tensor(ids)
    ours = info_nce_loss(rows, given, queue, temperature=T, symmetric=symmetric, label_smoothing=smoothing).loss
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


def test_smoothed_labels_are_those_of_torch() -> None:
    """CLIP-rocket's loss between strong views, with the gradient of its scale."""
    image, text = draw(2, 6)
    objective = InfoNCE(0.1, learnable_temperature=True, label_smoothing=0.1).double()
    scale = torch.tensor(math.log(10), dtype=torch.float64, requires_grad=True)
    logits = scale.exp() * normalize(image) @ normalize(text).t()
    sides = [cross_entropy(side, torch.arange(6), label_smoothing=0.1) for side in (logits, logits.t())]
    ours, expected = objective([image, text]).loss, sum(sides) / 2
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-8)
    learnt = [image, text, objective.temperature.log_scale]
    for mine, theirs in zip(torch.autograd.grad(ours, learnt), torch.autograd.grad(expected, [image, text, scale])):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-8)


def test_smoothed_labels_over_a_queue_alone_leave_duplicates_out() -> None:
    query, key = draw(2, 3)
    queue = torch.randn(4, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    objective = InfoNCE(T, symmetric=False, in_batch=False, label_smoothing=0.2)
    ours = objective([query, key], torch.tensor([4, 5, 6]), queue, torch.tensor([6, 9, 4, 6])).loss
    q, k, n = normalize(query), normalize(key), normalize(queue)
    terms = []
    for i, others in enumerate(([0, 1, 3], [0, 1, 2, 3], [1, 2])):
        losses = -torch.stack([q[i] @ k[i] / T, *(q[i] @ n[j] / T for j in others)]).log_softmax(0)
        terms.append(0.8 * losses[0] + 0.2 * losses.mean())
    torch.testing.assert_close(ours, torch.stack(terms).mean(), rtol=1e-11, atol=1e-12)


def test_label_smoothing_at_its_limits() -> None:
    views = draw(2, 5)
    plain, hardly = (InfoNCE(T, label_smoothing=a)(views).loss for a in (0.0, 1e-12))
    torch.testing.assert_close(hardly, plain, rtol=1e-10, atol=1e-12)
    alone = InfoNCE(T, label_smoothing=0.5)(views, torch.full((5,), 3)).loss.detach()
    assert float(alone) == pytest.approx(0.0, abs=1e-12), "an anchor whose only candidate is the positive"
    assert torch.equal(InfoNCE(T, label_smoothing=0.0)(views).loss, InfoNCE(T)(views).loss)


def test_a_smoothed_positive_can_be_too_near() -> None:
    """With a of the label on K candidates the best logit gap is finite: log((1 - a) K / a + 1)."""
    a, size = 0.1, 4
    best = math.log((1 - a) * size / a + 1)
    gaps = torch.tensor([best - 0.1, best, best + 0.1], dtype=torch.float64)
    unit = torch.eye(size, dtype=torch.float64)
    losses = [float(InfoNCE(1 / gap, label_smoothing=a)([unit, unit]).loss) for gap in gaps.tolist()]
    assert losses[1] < losses[0] and losses[1] < losses[2]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"label_smoothing": -0.1}, "label_smoothing: found -0.1; allowed: a number in [0, 1)."),
        ({"label_smoothing": 1.0}, "label_smoothing: found 1.0; allowed: a number in [0, 1)."),
        ({"label_smoothing": math.nan}, "label_smoothing: found nan; allowed: a number in [0, 1)."),
        ({"label_smoothing": 0.1, "decoupled": True}, "label_smoothing: found 0.1 and decoupled; allowed: 0 there:"),
        ({"label_smoothing": 0.1, "pos_weight": "neg_vmf"}, "label_smoothing: found 0.1 and pos_weight; allowed: 0"),
    ],
)
def test_label_smoothing_is_checked(more: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        InfoNCE(**more)


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
