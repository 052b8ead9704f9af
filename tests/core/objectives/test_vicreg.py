"""VICReg: against the plain formula, term by term, its collapse level, its invariances and batches of one."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import VICReg, vicreg_loss

pytestmark = pytest.mark.unit


def views(count: int = 2, samples: int = 7, dim: int = 4, seed: int = 0) -> list[Tensor]:
    """Some dimensions spread less than 1 and some more, so that the hinge is met on both sides."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.3, 2.0, dim, dtype=torch.float64)
    draws = [torch.randn(samples, dim, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [spread * draw + 1 for draw in draws]


def covariance(view: Tensor) -> list[list[float]]:
    samples, dim = view.shape
    columns = [view[:, d].tolist() for d in range(dim)]
    centred = [[x - sum(c) / samples for x in c] for c in columns]
    return [[sum(x * y for x, y in zip(a, b, strict=True)) / (samples - 1) for b in centred] for a in centred]


def plain(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    samples, dim = first.shape
    cells = list(itertools.product(range(samples), range(dim)))
    agree = sum(float(first[i, d] - second[i, d]) ** 2 for i, d in cells) / (samples * dim)
    spread = redundant = 0.0
    for view in (first, second):
        matrix = covariance(view)
        spread += sum(max(0.0, 1 - (matrix[d][d] + 1e-4) ** 0.5) for d in range(dim)) / dim / 2
        redundant += sum(matrix[d][e] ** 2 for d in range(dim) for e in range(dim) if d != e) / dim
    return agree, spread, redundant


def test_equals_the_plain_formula_term_by_term() -> None:
    first, second = views()
    agree, spread, redundant = plain(first, second)
    result = VICReg()([first, second])
    assert float(result.parts["invariance"]) == pytest.approx(agree, rel=1e-12)
    assert float(result.parts["variance"]) == pytest.approx(spread, rel=1e-12)
    assert float(result.parts["covariance"]) == pytest.approx(redundant, rel=1e-12)
    assert float(result.loss) == pytest.approx(25 * agree + 25 * spread + redundant, rel=1e-12)
    assert 0 < spread < 1


def test_weights_go_to_their_terms() -> None:
    first, second = views()
    agree, spread, redundant = plain(first, second)
    loss = VICReg(invariance=2, variance=3, covariance=5)([first, second]).loss
    assert float(loss) == pytest.approx(2 * agree + 3 * spread + 5 * redundant, rel=1e-12)


def test_more_views_are_the_mean_over_pairs() -> None:
    four = views(4)
    pairs = [plain(a, b) for a, b in itertools.combinations(four, 2)]
    expected = sum(25 * agree + 25 * spread + redundant for agree, spread, redundant in pairs) / 6
    assert float(vicreg_loss(four).loss) == pytest.approx(expected, rel=1e-12)


def test_gradient() -> None:
    three = [v.requires_grad_() for v in views(3, 5, 3)]
    assert torch.autograd.gradcheck(lambda *v: vicreg_loss(v, 0.5, 2, 3).loss, three)


def test_perfect_embeddings_have_no_loss() -> None:
    signs = 2 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert float(vicreg_loss([signs, signs]).loss) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("settings_", [{}, {"variance": 4.0, "target_std": 2.0, "eps": 0.01}])
def test_a_constant_encoder_is_at_chance_with_a_finite_gradient(settings_: dict[str, float]) -> None:
    objective = VICReg(**settings_)
    constant = [torch.full((8, 5), 2.0, requires_grad=True) for _ in range(2)]
    loss = objective(constant).loss
    loss.backward()
    assert float(loss.detach()) == pytest.approx(objective.chance(8))
    assert constant[0].grad.isfinite().all()


def test_chance_by_default_is_24_75() -> None:
    assert VICReg().chance(256) == pytest.approx(24.75)


@settings(max_examples=20, deadline=None)
@given(st.floats(-10, 10), st.integers(0, 10**6))
def test_shifting_all_views_alike_changes_nothing(shift: float, seed: int) -> None:
    three = views(3, seed=seed)
    moved = vicreg_loss([v + shift for v in three]).loss
    torch.testing.assert_close(moved, vicreg_loss(three).loss, rtol=1e-9, atol=1e-9)


def test_the_order_of_views_and_of_samples_does_not_matter() -> None:
    first, second = views()
    expected = vicreg_loss([first, second]).loss
    torch.testing.assert_close(vicreg_loss([second, first]).loss, expected)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(vicreg_loss([first[order], second[order]]).loss, expected)


def test_one_dimension() -> None:
    assert float(vicreg_loss(views(dim=1)).parts["covariance"]) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_also_under_autocast(dtype: torch.dtype) -> None:
    first, second = (v.to(dtype) for v in views())
    agree, spread, redundant = plain(first.double(), second.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = vicreg_loss([first, second]).loss
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(25 * agree + 25 * spread + redundant, rel=1e-5)


def test_a_nan_is_not_swallowed() -> None:
    first, second = views()
    first[0, 0] = float("nan")
    assert vicreg_loss([first, second]).loss.isnan()


def test_ids_are_ignored() -> None:
    pair = views()
    objective = VICReg()
    torch.testing.assert_close(objective(pair, ids=torch.zeros(7, dtype=torch.int64)).loss, objective(pair).loss)


def test_the_reduction_is_declared() -> None:
    assert VICReg.reduction == "gather"


def test_what_is_refused() -> None:
    first, second = views()
    with pytest.raises(
        ShapeError, match=r"batch size: found 1 over all ranks; allowed: 2 or more\. Batch statistics of"
    ):
        vicreg_loss([first[:1], second[:1]])
    with pytest.raises(ShapeError, match=r"embeddings: found 0 view\(s\); allowed: 2 or more"):
        vicreg_loss([])
    with pytest.raises(
        ShapeError, match=r"embeddings\[1\]: found shape \(7, 3\); allowed: \(7, 4\) as in embeddings\[0\]"
    ):
        vicreg_loss([first, second[:, :3]])
    with pytest.raises(ConfigError, match=r"target_std: found 0; allowed: a number above 0\."):
        VICReg(target_std=0)


@pytest.mark.parametrize("name", ["invariance", "variance", "covariance"])
def test_negative_weights_are_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: found -0.5; allowed: a number of at least 0\."):
        VICReg(**{name: -0.5})
