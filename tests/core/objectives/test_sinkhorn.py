"""Sinkhorn: against the paper's direct formula, its marginals, its invariances and its limits."""

from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import sinkhorn

module = importlib.import_module("counterpoint.objectives.sinkhorn")  # the package has the function by that name

pytestmark = pytest.mark.unit


def cosines(samples: int = 12, prototypes: int = 5, seed: int = 0) -> Tensor:
    draw = torch.rand(samples, prototypes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2 * draw - 1


def direct(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The paper's algorithm word for word, constants included, outside the log domain."""
    plan = (scores.T / epsilon).exp()
    prototypes, samples = plan.shape
    plan = plan / plan.sum()
    for _ in range(iterations):
        plan = plan / plan.sum(dim=1, keepdim=True) / prototypes
        plan = plan / plan.sum(dim=0, keepdim=True) / samples
    return (plan * samples).T


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.03, 0.05, 0.5])
def test_log_domain_equals_the_direct_form(epsilon: float, iterations: int) -> None:
    scores = cosines()
    torch.testing.assert_close(
        sinkhorn(scores, epsilon, iterations), direct(scores, epsilon, iterations), rtol=1e-11, atol=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [0.035, 0.05, 0.5])
def test_powers_give_the_codes_of_the_log_domain(
    dtype: torch.dtype, epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = cosines(40, 7).to(dtype)
    by_powers = []
    own = module._by_powers
    monkeypatch.setattr(module, "_by_powers", lambda *a: by_powers.append(own(*a)) or by_powers[0])
    quick = sinkhorn(scores, epsilon)
    assert len(by_powers) == 1
    monkeypatch.setattr(module, "_allows_powers", lambda scores, epsilon: False)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(quick, sinkhorn(scores, epsilon), rtol=tolerance, atol=1e-9)
    assert len(by_powers) == 1


def test_powers_are_not_taken_where_they_would_overflow() -> None:
    for scores in ([[3.1]], [[-3.1, 0.0]], [[torch.nan, 0.0]]):
        assert not module._allows_powers(torch.tensor(scores), 0.1)
    assert module._allows_powers(torch.tensor([[2.9, -2.9]]), 0.1)
    assert sinkhorn(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), 0.01).isfinite().all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.floats(0.01, 2.0), st.integers(0, 10**6))
def test_every_code_is_a_distribution(
    samples: int, prototypes: int, iterations: int, epsilon: float, seed: int
) -> None:
    codes = sinkhorn(cosines(samples, prototypes, seed), epsilon, iterations)
    assert (codes >= 0).all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(samples, dtype=torch.float64), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_a_constant_per_prototype_changes_nothing(iterations: int, seed: int) -> None:
    scores = cosines(seed=seed)
    shift = cosines(1, 5, seed + 1)
    codes = sinkhorn(scores, 0.05, iterations)
    torch.testing.assert_close(sinkhorn(scores + shift, 0.05, iterations), codes, rtol=1e-9, atol=1e-12)


def test_prototypes_are_used_equally_in_the_limit_only() -> None:
    scores = cosines(48, 6)
    totals = torch.full((6,), 48 / 6, dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, 0.05, 400).sum(dim=0), totals, rtol=0, atol=1e-6)
    assert (sinkhorn(scores, 0.05, 3).sum(dim=0) - totals).abs().max() > 1e-3


def test_the_order_of_samples_does_not_matter() -> None:
    scores = cosines()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sinkhorn(scores[order]), sinkhorn(scores)[order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.7])
def test_constant_scores_give_exactly_uniform_codes(value: float) -> None:
    codes = sinkhorn(torch.full((6, 4), value, dtype=torch.float64))
    torch.testing.assert_close(codes, torch.full((6, 4), 0.25, dtype=torch.float64), rtol=0, atol=1e-15)


def test_small_epsilon_gives_a_hard_balanced_assignment_and_large_a_uniform_one() -> None:
    # All four samples prefer prototype 0; the two that lose least by moving are moved.
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.7, 0.6], [0.6, 0.5]], dtype=torch.float64)
    hard = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, 0.005, 500), hard, rtol=0, atol=1e-6)
    torch.testing.assert_close(sinkhorn(scores, 1e6, 3), torch.full_like(scores, 0.5), rtol=0, atol=1e-6)


def test_one_sample_or_one_prototype() -> None:
    # One sample: equal use of the prototypes leaves nothing but the uniform code.
    torch.testing.assert_close(sinkhorn(cosines(1, 4)), torch.full((1, 4), 0.25, dtype=torch.float64))
    torch.testing.assert_close(sinkhorn(cosines(4, 1)), torch.ones(4, 1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    scores = cosines().to(dtype)
    codes = sinkhorn(scores, epsilon=0.01)  # exp(1 / 0.01) overflows float32, let alone float16
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes, direct(scores.double(), 0.01, 3).float(), rtol=1e-4, atol=1e-6)


def test_autocast_does_not_reach_in() -> None:
    scores = cosines(256, 64).float()
    with torch.autocast("cpu", torch.bfloat16):
        codes = sinkhorn(scores)
    assert torch.equal(codes, sinkhorn(scores))
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(256), rtol=0, atol=1e-6)


def test_codes_carry_no_gradient() -> None:
    assert not sinkhorn(cosines().requires_grad_()).requires_grad


def test_a_nan_is_not_swallowed() -> None:
    scores = cosines()
    scores[2, 1] = float("nan")
    assert sinkhorn(scores).isnan().any()


def test_what_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"scores: found shape \(3,\); allowed: \(B, D\) with B and D at least 1\."):
        sinkhorn(torch.zeros(3))
    with pytest.raises(ShapeError, match=r"scores: found shape \(0, 4\)"):
        sinkhorn(torch.zeros(0, 4))
    with pytest.raises(ShapeError, match=r"scores: found torch.int64; allowed: floating point\. Convert it with"):
        sinkhorn(torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ConfigError, match=r"epsilon: found 0; allowed: a number above 0\."):
        sinkhorn(cosines(), epsilon=0)
    with pytest.raises(ConfigError, match=r"iterations: found 0; allowed: 1 or more\. The last half"):
        sinkhorn(cosines(), iterations=0)
