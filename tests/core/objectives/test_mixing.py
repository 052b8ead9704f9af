"""Mixtures are the formula; weights are drawn from the laws they are named after."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives.mixing import beta, mix, uniform

pytestmark = pytest.mark.unit


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.3, -0.4, 1.7, torch.tensor(0.3, dtype=torch.float64)])
def test_one_weight_for_all_rows(weight: float | torch.Tensor) -> None:
    first, second = draw(2, 5, 3)
    torch.testing.assert_close(mix(first, second, weight), weight * first + (1 - weight) * second)


def test_a_weight_a_row_in_either_form_and_one_a_dimension() -> None:
    first, second = draw(2, 5, 3)
    weight = torch.rand(5, 1, dtype=torch.float64)
    expected = weight * first + (1 - weight) * second
    torch.testing.assert_close(mix(first, second, weight), expected)
    torch.testing.assert_close(mix(first, second, weight.squeeze(1)), expected)
    each = torch.rand(5, 3, dtype=torch.float64)
    torch.testing.assert_close(mix(first, second, each), each * first + (1 - each) * second)


def test_a_square_batch_is_not_mixed_by_column() -> None:
    mixed = mix(torch.ones(3, 3), torch.zeros(3, 3), torch.tensor([0.0, 0.5, 1.0]))
    assert mixed.tolist() == [[0.0] * 3, [0.5] * 3, [1.0] * 3]


def test_leading_dimensions_share_rows_and_weights() -> None:
    first, second = draw(4, 5, 3), draw(5, 3)
    weight = torch.rand(5, dtype=torch.float64)
    mixed = mix(first, second, weight)
    for k in range(4):
        torch.testing.assert_close(mixed[k], mix(first[k], second, weight))


def test_the_ends_are_exact() -> None:
    first, second = torch.randn(2, 100, 7) * 1e3
    assert torch.equal(mix(first, second, 1.0), first)
    assert torch.equal(mix(first, second, torch.zeros(100)), second)


def test_normalised_mixtures_have_length_one_and_zero_rows_stay() -> None:
    rows = draw(5, 3)
    assert mix(rows, draw(2, 5, 3)[1], 0.4, normalize=True).norm(dim=1) == pytest.approx([1.0] * 5)
    assert not mix(rows, -rows, 0.5, normalize=True).any()


def test_gradients_reach_rows_and_weight() -> None:
    first, second, weight = (rows.clone().requires_grad_() for rows in draw(3, 4, 3))
    assert torch.autograd.gradcheck(lambda a, b, w: mix(a, b, w[:, 0], normalize=True), (first, second, weight))


def test_half_precision_meets_full() -> None:
    mixed = mix(torch.ones(2, 3, dtype=torch.bfloat16), torch.zeros(2, 3), torch.full((2,), 0.25))
    assert mixed.dtype == torch.float32
    assert mixed.unique().tolist() == [0.25]


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"weight: found .*\[4, 1\]\) for rows \(5, 3\) and \(5, 3\)"):
        mix(torch.ones(5, 3), torch.ones(5, 3), torch.ones(4))


def test_even_weights_are_even() -> None:
    weights = uniform(5000, 0.2, 0.7, generator=torch.Generator().manual_seed(3))
    assert stats.kstest(weights.numpy(), stats.uniform(0.2, 0.5).cdf).pvalue > 0.01
    assert uniform((2, 3), 0.4, 0.4).unique().tolist() == [pytest.approx(0.4)]


@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 8), (0.5, 0.5)])
def test_beta_weights_are_beta(a: float, b: float) -> None:
    weights = beta(5000, a, b, generator=torch.Generator().manual_seed(3))
    assert stats.kstest(weights.numpy(), stats.beta(a, b).cdf).pvalue > 0.01


def test_a_generator_repeats_and_the_global_one_is_the_default() -> None:
    for law in (uniform, beta):
        one, two = (law((2, 3), generator=torch.Generator().manual_seed(1)) for _ in range(2))
        assert torch.equal(one, two)
        torch.manual_seed(5)
        three = law(4)
        torch.manual_seed(5)
        assert torch.equal(law(4), three)


def test_weights_are_like_a_tensor_in_full_precision() -> None:
    assert uniform(2, like=torch.ones(1, dtype=torch.float64)).dtype == torch.float64
    assert beta((2, 3), like=torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32


def test_impossible_laws_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"low, high: found 0.5, 0.4"):
        uniform(2, 0.5, 0.4)
    with pytest.raises(ConfigError, match=r"a: found 0; allowed: a number above 0"):
        beta(2, 0)
