"""Barlow Twins: against the plain correlation, its collapse level, its invariances and batches of one."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import BatchNorm1d

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import BarlowTwins, barlow_twins_loss

pytestmark = pytest.mark.unit


def views(count: int = 2, samples: int = 7, dim: int = 4, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    return [
        shared + 0.5 * torch.randn(samples, dim, generator=generator, dtype=torch.float64) + 3 for _ in range(count)
    ]


def plain(first: Tensor, second: Tensor, eps: float = 1e-5) -> tuple[float, float]:
    """Entry by entry: mean, biased variance, correlation."""
    samples, dim = first.shape

    def standard(column: list[float]) -> list[float]:
        mean = sum(column) / samples
        variance = sum((x - mean) ** 2 for x in column) / samples
        return [(x - mean) / (variance + eps) ** 0.5 for x in column]

    left = [standard(first[:, d].tolist()) for d in range(dim)]
    right = [standard(second[:, d].tolist()) for d in range(dim)]
    on = off = 0.0
    for d, e in itertools.product(range(dim), repeat=2):
        correlation = sum(x * y for x, y in zip(left[d], right[e], strict=True)) / samples
        on += (1 - correlation) ** 2 if d == e else 0
        off += correlation**2 if d != e else 0
    return on, off


def test_equals_the_plain_formula() -> None:
    first, second = views()
    on, off = plain(first, second)
    result = BarlowTwins(weight=0.02)([first, second])
    assert float(result.loss) == pytest.approx(on + 0.02 * off, rel=1e-12)
    assert float(result.parts["invariance"]) == pytest.approx(on, rel=1e-12)
    assert float(result.parts["redundancy"]) == pytest.approx(off, rel=1e-12)


def test_default_weight_is_the_papers() -> None:
    first, second = views()
    on, off = plain(first, second)
    assert float(BarlowTwins()([first, second]).loss) == pytest.approx(on + 0.0051 * off, rel=1e-12)


def test_more_views_are_the_mean_over_pairs() -> None:
    three = views(3)
    pairs = [plain(a, b) for a, b in itertools.combinations(three, 2)]
    expected = sum(on + 0.0051 * off for on, off in pairs) / 3
    assert float(barlow_twins_loss(three).loss) == pytest.approx(expected, rel=1e-12)


def test_between_two_modalities_it_is_barlip() -> None:
    """CLIP-rocket's BarLIP: ``C = A^T B / B`` of two heads that end in a BatchNorm; 0.025 is the method's weight."""
    first, second = views(samples=9)
    image, text = (BatchNorm1d(4, affine=False, eps=1e-12).double()(v) for v in (first, second.exp()))
    correlation = image.T @ text / 9
    diagonal = correlation.diagonal()
    expected = (1 - diagonal).square().sum() + 0.005 * (correlation.square().sum() - diagonal.square().sum())
    result = barlow_twins_loss([image, text], weight=0.005, eps=1e-12)
    torch.testing.assert_close(result.loss, expected, rtol=1e-9, atol=1e-9)
    swapped = barlow_twins_loss([text, image], weight=0.005, eps=1e-12)
    torch.testing.assert_close(swapped.loss, result.loss, rtol=1e-12, atol=1e-12)


def test_modalities_without_any_correlation_are_at_the_dimension() -> None:
    corners = torch.tensor(list(itertools.product([-1.0, 1], repeat=4)), dtype=torch.float64)
    assert float(barlow_twins_loss([corners[:, :2], corners[:, 2:]], weight=0.005).loss) == pytest.approx(2)


def test_gradient() -> None:
    three = [v.requires_grad_() for v in views(3, 5, 3)]
    assert torch.autograd.gradcheck(lambda *v: barlow_twins_loss(v, weight=0.3).loss, three)
    assert torch.autograd.gradcheck(lambda *v: barlow_twins_loss(v, weight=0.3, eps=0.5).loss, three[:2])


def test_perfect_embeddings_have_no_loss() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert float(barlow_twins_loss([signs, signs], eps=1e-12).loss) == pytest.approx(0, abs=1e-11)


def test_a_constant_encoder_is_at_chance_with_a_finite_gradient() -> None:
    objective = BarlowTwins()
    assert objective.chance(8) is None  # the dimension is not known yet
    constant = [torch.full((8, 5), 2.0, requires_grad=True) for _ in range(2)]
    loss = objective(constant).loss
    loss.backward()
    assert float(loss.detach()) == pytest.approx(5) == objective.chance(8)
    assert constant[0].grad.isfinite().all()


def test_redundant_dimensions_are_punished() -> None:
    column = torch.randn(16, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    copies = column.repeat(1, 3)
    parts = barlow_twins_loss([copies, copies], eps=1e-12).parts
    assert float(parts["invariance"]) == pytest.approx(0, abs=1e-9)
    assert float(parts["redundancy"]) == pytest.approx(6)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.floats(-10, 10), st.integers(0, 10**6))
def test_shifting_and_stretching_a_view_changes_nothing(stretch: float, shift: float, seed: int) -> None:
    first, second = views(seed=seed)
    expected = barlow_twins_loss([first, second], eps=1e-14).loss
    moved = barlow_twins_loss([stretch * first + shift, second], eps=1e-14).loss
    torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-9)


def test_the_order_of_views_and_of_samples_does_not_matter() -> None:
    first, second = views()
    expected = barlow_twins_loss([first, second]).loss
    torch.testing.assert_close(barlow_twins_loss([second, first]).loss, expected)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(barlow_twins_loss([first[order], second[order]]).loss, expected)


def test_one_dimension() -> None:
    first, second = views(dim=1)
    assert float(barlow_twins_loss([first, second]).parts["redundancy"]) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_also_under_autocast(dtype: torch.dtype) -> None:
    first, second = (v.to(dtype) for v in views())
    on, off = plain(first.double(), second.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = barlow_twins_loss([first, second]).loss
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(on + 0.0051 * off, rel=1e-4)


def test_a_nan_is_not_swallowed() -> None:
    first, second = views()
    first[0, 0] = float("nan")
    assert barlow_twins_loss([first, second]).loss.isnan()


def test_ids_are_ignored() -> None:
    pair = views()
    objective = BarlowTwins()
    torch.testing.assert_close(objective(pair, ids=torch.zeros(7, dtype=torch.int64)).loss, objective(pair).loss)


def test_the_reduction_is_declared() -> None:
    assert BarlowTwins.reduction == "gather"


def test_what_is_refused() -> None:
    first, second = views()
    with pytest.raises(
        ShapeError, match=r"batch size: found 1 over all ranks; allowed: 2 or more\. Batch statistics of"
    ):
        barlow_twins_loss([first[:1], second[:1]])
    with pytest.raises(ShapeError, match=r"embeddings: found 1 view\(s\); allowed: 2 or more"):
        barlow_twins_loss([first])
    with pytest.raises(
        ShapeError, match=r"embeddings\[1\]: found shape \(6, 4\); allowed: \(7, 4\) as in embeddings\[0\]"
    ):
        barlow_twins_loss([first, second[:6]])
    with pytest.raises(ShapeError, match=r"embeddings\[0\]: found shape \(4,\); allowed: \(B, D\)"):
        barlow_twins_loss([first[0], second[0]])
    with pytest.raises(ConfigError, match=r"weight: found -1; allowed: a number of at least 0\."):
        BarlowTwins(weight=-1)
    with pytest.raises(ConfigError, match=r"eps: found 0; allowed: a number above 0\."):
        BarlowTwins(eps=0)
