"""Decoupled contrastive learning: the exact relations of the method, its weights, its queue."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.objectives import DCL, InfoNCE, NTXent, dcl_loss, info_nce_loss, nt_xent_loss

pytestmark = pytest.mark.unit

TEMPERATURE = 0.3


def draw(size: int, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    rows = torch.randn(3, size, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (rows[1] + rows[0]).requires_grad_(), (rows[2] + rows[0]).requires_grad_()


def unit(rows: Tensor) -> Tensor:
    return rows / rows.pow(2).sum(1, keepdim=True).sqrt()


def anchors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Positives' logits and the sums U of the negatives, each ``(2, N)``, written out row by row."""
    first, second = unit(a), unit(b)
    both = torch.stack([first, second])
    size = len(a)
    positive = (first * second).sum(1) / TEMPERATURE
    sums = []
    for view in both:
        for i in range(size):
            others = [j for j in range(size) if j != i]
            sums.append((both[:, others] @ view[i] / TEMPERATURE).exp().sum())
    return torch.stack([positive, positive]), torch.stack(sums).view(2, size)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_value_and_gradient_are_the_formula(size: int) -> None:
    a, b = draw(size)
    positive, total = anchors(a, b)
    dense = (total.log() - positive).mean()
    ours = dcl_loss([a, b], temperature=TEMPERATURE).loss
    torch.testing.assert_close(ours, dense, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(ours, [a, b]), torch.autograd.grad(dense, [a, b])):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_it_is_info_nce_plus_log_q_anchor_by_anchor() -> None:
    """One anchor is taken at a time: first view only, all others' terms removed by a single pair against a queue."""
    a, b = draw(6)
    queue = torch.randn(4, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for i in range(6):
        views = [a[i : i + 1], b[i : i + 1]]
        options = {"symmetric": False, "in_batch": False, "temperature": TEMPERATURE}
        coupled = info_nce_loss(views, negatives=queue, **options)
        decoupled = info_nce_loss(views, negatives=queue, decoupled=True, **options)
        q = coupled.parts["q_mean"]
        torch.testing.assert_close(decoupled.loss, coupled.loss + q.log(), rtol=1e-12, atol=1e-12)
        for with_q, without in zip(
            torch.autograd.grad(coupled.loss, [a, b]), torch.autograd.grad(decoupled.loss, [a, b])
        ):
            torch.testing.assert_close(with_q, q * without, rtol=1e-12, atol=1e-12)


def test_batch_gradients_differ_by_q_of_each_anchor() -> None:
    a, b = draw(5)
    positive, total = anchors(a, b)
    q = (total / (positive.exp() + total)).detach()
    weighted = (q * (total.log() - positive)).mean()
    expected = torch.autograd.grad(weighted, [a, b])
    coupled = nt_xent_loss([a, b], temperature=TEMPERATURE)
    for mine, theirs in zip(torch.autograd.grad(coupled.loss, [a, b]), expected):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(coupled.parts["q_mean"], q.mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(coupled.parts["q_std"], q.std(correction=0), rtol=1e-12, atol=0)
    torch.testing.assert_close(coupled.parts["p_positive"], 1 - q.mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("gradient", [False, True])
def test_dclw_is_the_formula(gradient: bool) -> None:
    a, b = draw(6)
    positive, total = anchors(a, b)
    power = ((unit(a) * unit(b)).sum(1) / 0.7).exp()
    weight = 2 - power / power.mean()
    assert weight.mean().item() == pytest.approx(1.0)
    dense = (total.log() - (weight if gradient else weight.detach()) * positive).mean()
    ours = dcl_loss([a, b], temperature=TEMPERATURE, pos_weight="neg_vmf", sigma=0.7, weight_gradient=gradient).loss
    torch.testing.assert_close(ours, dense, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(ours, [a, b]), torch.autograd.grad(dense, [a, b])):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_harder_positives_weigh_more_and_may_weigh_less_than_nothing() -> None:
    """Positives from easy to opposite; the queue adds the same to both losses, so their difference is the weights."""
    angles = torch.tensor([0.0, 0.4, 1.2, 3.0], dtype=torch.float64)
    cosine = angles.cos()
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(4, 2)
    b = torch.stack([angles.cos(), angles.sin()], 1)
    queue = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    options = {"temperature": 1.0, "symmetric": False, "in_batch": False, "sigma": 0.1}
    plain = dcl_loss([a, b], None, queue, **options).loss
    weighted = dcl_loss([a, b], None, queue, pos_weight="neg_vmf", **options).loss
    power = (cosine / 0.1).exp()
    weight = 2 - power / power.mean()
    assert (weight.diff() > 0).all() and weight[0] < 0
    torch.testing.assert_close(plain - weighted, ((weight - 1) * cosine).mean(), rtol=1e-10, atol=1e-12)


def test_a_wide_sigma_is_no_weight() -> None:
    views = draw(5)
    weighted = dcl_loss(views, pos_weight="neg_vmf", sigma=1e9).loss
    torch.testing.assert_close(weighted, dcl_loss(views).loss, rtol=1e-8, atol=1e-8)
    assert dcl_loss(views, pos_weight="neg_vmf", sigma=1e-4).loss.isfinite()


def test_known_values_for_two_images() -> None:
    """Everything orthogonal: log 2. Identical positives, orthogonal negatives: -1 / temperature + log 2."""
    axes = torch.eye(4, dtype=torch.float64)
    assert float(dcl_loss([axes[:2], axes[2:]]).loss) == pytest.approx(math.log(2))
    assert float(dcl_loss([axes[:2], axes[:2]], temperature=0.25).loss) == pytest.approx(-4 + math.log(2))


def test_bounds() -> None:
    opposite = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    worst = dcl_loss([opposite, -opposite], temperature=0.5).loss
    best = dcl_loss([torch.tensor([[1.0, 0.0], [-1.0, 0.0]])] * 2, temperature=0.5).loss
    assert -4 + math.log(2) - 1e-5 <= float(best) < 0 < float(worst) <= 4 + math.log(2)
    assert float(best) == pytest.approx(-4 + math.log(2), rel=1e-5)


def test_with_more_negatives_the_two_agree() -> None:
    a, b = draw(4)
    gaps = []
    for count in (10, 100, 1000, 10000):
        queue = torch.randn(count, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        gap = dcl_loss([a, b], None, queue).loss - nt_xent_loss([a, b], None, queue).loss
        gaps.append(gap.abs().item())
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 0.05 * gaps[0]


def test_an_anchor_whose_negatives_are_all_duplicates_adds_nothing() -> None:
    a, b = draw(3)
    result = dcl_loss([a, b], torch.tensor([1, 1, 1]))
    assert result.loss.item() == 0.0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in torch.autograd.grad(result.loss, [a, b]))


def test_moco_form() -> None:
    a, b = draw(4)
    queue = torch.randn(7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours = DCL(TEMPERATURE, symmetric=False, in_batch=False)([a, b.detach()], negatives=queue)
    q, k, n = unit(a), unit(b), unit(queue)
    dense = (-(q * k).sum(1) / TEMPERATURE + (q @ n.t() / TEMPERATURE).logsumexp(1)).mean()
    torch.testing.assert_close(ours.loss, dense, rtol=1e-12, atol=1e-12)


def test_module_function_and_flag_are_one() -> None:
    views = draw(5)
    expected = dcl_loss(views, temperature=TEMPERATURE).loss
    assert torch.equal(DCL(TEMPERATURE)(views).loss, expected)
    assert torch.equal(NTXent(TEMPERATURE, decoupled=True)(views).loss, expected)
    cross = InfoNCE(TEMPERATURE, decoupled=True)(views).loss
    logits = unit(views[0]) @ unit(views[1]).t() / TEMPERATURE
    others = logits.masked_fill(torch.eye(5, dtype=torch.bool), -torch.inf)
    dense = (others.logsumexp(1) + others.logsumexp(0)).mean() / 2 - logits.diagonal().mean()
    torch.testing.assert_close(cross, dense, rtol=1e-12, atol=1e-12)


def test_chance_counts_the_negatives() -> None:
    objective = DCL()
    assert objective.chance(8) == pytest.approx(math.log(14))
    assert objective.chance(1) is None
    objective(draw(4), negatives=torch.randn(6, 5))
    assert objective.chance(4) == pytest.approx(math.log(6))
    both = DCL(in_batch=True)
    both(draw(4), negatives=torch.randn(6, 5))
    assert both.chance(4) == pytest.approx(math.log(6 + 6))
