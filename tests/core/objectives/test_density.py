"""Densities against dense sums over pairs, their limits, their laws, and two ways to write one thing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives.density import alignment, joint_entropy, log_gaussian_sums, uniformity

pytestmark = pytest.mark.unit


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gram(a: Tensor, c: Tensor, t: float) -> Tensor:
    return (-t * (a[:, None] - c).square().sum(2)).exp()


def apart(ids: Tensor) -> Tensor:
    """Dense mask of the pairs that are compared."""
    return ids[:, None] != ids


IDS = torch.tensor([4, 4, 1, 2, 3, 4, 5, 1, 9])


@pytest.mark.parametrize("tile", [None, 1, 4])
@pytest.mark.parametrize("t", [0.3, 5.0, 200.0])
def test_sums_equal_the_dense_gram_matrix(tile: int | None, t: float) -> None:
    a, c = draw(9, 3).requires_grad_(), draw(7, 3, seed=1).requires_grad_()
    ours, dense = log_gaussian_sums(a, c, t, tile=tile), (-t * (a[:, None] - c).square().sum(2)).logsumexp(1)
    torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-10)
    mine, theirs = (torch.autograd.grad(x.square().sum(), (a, c)) for x in (ours, dense))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_alignment_is_the_mean_distance() -> None:
    a, b = draw(9, 3), draw(9, 3, seed=1)
    assert alignment(a, b).item() == pytest.approx((a - b).square().sum(1).mean().item(), rel=1e-12)
    assert alignment(a, b, alpha=1).item() == pytest.approx((a - b).norm(dim=1).mean().item(), rel=1e-12)
    unit_a, unit_b = normalize(a), normalize(b)
    cosine = (unit_a * unit_b).sum(1).mean().item()
    assert alignment(unit_a, unit_b).item() == pytest.approx(2 - 2 * cosine, rel=1e-12)


def test_alignment_is_zero_where_pairs_coincide_with_a_finite_gradient() -> None:
    a = draw(5, 3).requires_grad_()
    loss = alignment(a, a.detach())
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(a.grad, torch.zeros_like(a))


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_uniformity_equals_the_dense_mean_over_pairs(t: float) -> None:
    z = draw(9, 3)
    assert uniformity(z, t).item() == pytest.approx(torch.pdist(z).square().mul(-t).exp().mean().log().item())
    without_duplicates = gram(z, z, t)[apart(IDS)].mean().log().item()
    assert uniformity(z, t, IDS).item() == pytest.approx(without_duplicates, rel=1e-12)


def test_uniformity_is_zero_where_all_coincide_and_falls_when_two_move_apart() -> None:
    z = torch.ones(8, 4)
    assert uniformity(z).item() == pytest.approx(0, abs=1e-6)
    levels = []
    for step in (0.1, 0.2, 0.4):
        moved = z.clone()
        moved[0, 0] += step
        levels.append(uniformity(moved).item())
    assert 0 > levels[0] > levels[1] > levels[2]


def test_uniformity_on_the_sphere_is_wang_and_isolas() -> None:
    z = normalize(draw(9, 5))
    cosine = (z @ z.T)[apart(torch.arange(9))]
    assert uniformity(z, t=1.0).item() == pytest.approx((2 * cosine - 2).exp().mean().log().item(), rel=1e-12)


@pytest.mark.parametrize("ids", [torch.arange(9), IDS])
def test_joint_entropy_equals_the_dense_estimator(ids: Tensor) -> None:
    c, s = draw(9, 3), draw(9, 2, seed=1)
    mask = apart(ids) | torch.eye(9, dtype=torch.bool)
    product = gram(c, c, 0.7) * gram(s, s, 0.7) * mask
    expected = -(product.sum(1) / mask.sum(1)).log().mean().item()
    assert joint_entropy([c, s], 0.7, ids).item() == pytest.approx(expected, rel=1e-12)


def test_a_product_of_kernels_is_the_kernel_of_the_joined_vector() -> None:
    c, s = draw(9, 3), draw(9, 2, seed=1)
    joined = joint_entropy([torch.cat([c, s], dim=1)])
    torch.testing.assert_close(joint_entropy([c, s]), joined, rtol=1e-12, atol=0)
    turn = torch.linalg.qr(draw(5, 5, seed=2))[0]
    torch.testing.assert_close(joint_entropy([torch.cat([c, s], dim=1) @ turn + 3]), joined, rtol=1e-10, atol=0)


def test_a_constant_space_drops_out_of_the_joint_entropy() -> None:
    c, constant = draw(9, 3), torch.full((9, 2), 5.0, dtype=torch.float64)
    torch.testing.assert_close(joint_entropy([c, constant]), joint_entropy([c]), rtol=1e-12, atol=0)
    assert joint_entropy([constant, constant]).item() == pytest.approx(0, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), spread=st.floats(0, 1e4), seed=st.integers(0, 99))
def test_joint_entropy_lies_between_zero_and_the_logarithm_of_the_samples(n: int, spread: float, seed: int) -> None:
    value = joint_entropy([spread * draw(n, 3, seed=seed), draw(n, 2, seed=seed + 1)]).item()
    assert -1e-9 <= value <= math.log(n) + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_codes_reach_that_logarithm_with_a_finite_gradient(dtype: torch.dtype) -> None:
    z = (1e6 * draw(9, 3, dtype=dtype)).requires_grad_()
    value = joint_entropy([z])
    value.backward()
    assert value.item() == pytest.approx(math.log(9))
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("length", [3.0, 300.0, 8e3, 8e4])
def test_far_targets_beside_a_background_at_zero_keep_their_digits(length: float) -> None:
    """SepCLR's salient codes: half of the rows coincide, the others lie in one direction, far away."""
    z = torch.cat([torch.zeros(32, 8), draw(32, 8, dtype=torch.float32) + length / 8**0.5])
    exact = z.double().requires_grad_()
    single = z.requires_grad_()
    for function in (lambda rows: joint_entropy([rows], 0.5), lambda rows: uniformity(rows, 0.5)):
        ours, theirs = function(single), function(exact)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-3)
        gradients = torch.autograd.grad(ours, single)[0], torch.autograd.grad(theirs, exact)[0]
        torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=2e-2, atol=1e-4)
    assert -1e-4 <= float(joint_entropy([single], 0.5)) <= math.log(64) + 1e-4


def test_gradients() -> None:
    c, s = draw(6, 3).requires_grad_(), draw(6, 2, seed=1).requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda z: uniformity(z, 0.7), c)
    assert check(lambda z: uniformity(z, 0.7, IDS[:6]), c)
    assert check(lambda a, b: joint_entropy([a, b], 0.7, IDS[:6]), (c, s))
    assert check(lambda a, b: alignment(a, b[:, [0, 1, 1]], 3), (c, s))


def test_duplicates_do_not_push_each_other() -> None:
    z = draw(4, 3).requires_grad_()
    ids = torch.tensor([7, 7, 7, 7])
    value = uniformity(z, ids=ids) + joint_entropy([z], ids=ids)
    value.backward()
    assert value.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_half_precision_is_computed_in_float32_also_under_autocast() -> None:
    z = draw(50, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = uniformity(z), joint_entropy([z, z]), alignment(z, z.flip(0))
    exact = uniformity(z.double()), joint_entropy([z.double(), z.double()]), alignment(z.double(), z.double().flip(0))
    for ours, dense in zip(values, exact, strict=True):
        assert ours.dtype == torch.float32
        assert ours.item() == pytest.approx(dense.item(), rel=1e-5)


def test_codes_far_from_the_origin_keep_their_digits() -> None:
    z = draw(50, 8)
    shifted = (z + 300).float()
    assert uniformity(shifted).item() == pytest.approx(uniformity(z).item(), rel=1e-3)


def test_what_is_refused() -> None:
    z = draw(4, 3)
    with pytest.raises(ShapeError, match=r"z: found 1 sample; allowed: 2 or more over all ranks\. Raise the batch"):
        uniformity(z[:1])
    with pytest.raises(ShapeError, match=r"codes: found none; allowed: one tensor or more"):
        joint_entropy([])
    with pytest.raises(ShapeError, match=r"codes\[1\]: found 3 rows; allowed: 4 as in codes\[0\]\. Row i of every"):
        joint_entropy([z, z[:3]])
    with pytest.raises(ShapeError, match=r"ids: found torch.int64 \(3,\); allowed: int64 \(4,\)"):
        uniformity(z, ids=torch.arange(3))
    with pytest.raises(ConfigError, match=r"t: found 0; allowed: a number above 0"):
        uniformity(z, t=0)
    with pytest.raises(ConfigError, match=r"alpha: found -1; allowed: a number above 0"):
        alignment(z, z, alpha=-1)
    with pytest.raises(ShapeError, match=r"\(a, b\)\[1\]: found shape \(4, 2\); allowed: \(4, 3\)"):
        alignment(z, z[:, :2])
