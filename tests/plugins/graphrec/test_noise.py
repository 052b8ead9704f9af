"""Signed noise: its length, its orthant, its distribution, its gradient and its seed."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError
from counterpoint_graphrec.noise import ROWS, signed_noise

pytestmark = pytest.mark.unit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("columns", [1, 5, 64])
@pytest.mark.parametrize("eps", [0.1, 3.0])
def test_the_noise_has_length_eps_and_the_signs_of_its_row(columns, eps):
    x = torch.randn(ROWS + 11, columns, dtype=torch.float64, generator=seeded())  # two blocks, the second short
    noisy = signed_noise(x, eps, seeded(1))
    torch.testing.assert_close((noisy - x).norm(dim=1), torch.full((len(x),), eps, dtype=x.dtype))
    assert torch.equal(noisy.sign(), x.sign())
    assert ((noisy - x).abs() > 0).all()


def test_zeros_stay_and_the_rest_is_as_if_they_were_not():
    x = torch.ones(3, 8, dtype=torch.float64)
    whole = signed_noise(x, 0.1, seeded())
    x[0], x[1, ::2] = 0, 0
    holed = signed_noise(x, 0.1, seeded())
    assert torch.equal(holed[x == 0], x[x == 0]) and torch.equal(holed[x != 0], whole[x != 0])


def test_without_noise_nothing_is_drawn():
    x, generator = torch.randn(4, 3), seeded()
    assert signed_noise(x, 0.0, generator) is x
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_the_direction_is_that_of_uniform_numbers():
    """Squares of u / |u| have mean 1 / D, and in two dimensions min / max of the two is uniform itself."""
    x = torch.ones(200_000, 2, dtype=torch.float64)
    noise = signed_noise(x, 1.0, seeded()) - x
    torch.testing.assert_close(noise.square().mean(0), torch.full((2,), 0.5, dtype=x.dtype), atol=3e-3, rtol=0)
    ratio = (noise.amin(1) / noise.amax(1)).sort().values
    distance = (ratio - (torch.arange(len(x)) + 0.5) / len(x)).abs().max()
    assert float(distance) < 1.63 / len(x) ** 0.5  # Kolmogorov-Smirnov, 1 %


def test_rows_and_columns_are_independent():
    x = torch.ones(100_000, 4, dtype=torch.float64)
    noise = signed_noise(x, 1.0, seeded()) - x
    shifted = torch.cat([noise[:-1], noise[1:]], dim=1)
    correlation = torch.corrcoef(shifted.T)[:4, 4:]
    assert float(correlation.abs().max()) < 4 / len(x) ** 0.5
    assert (noise[:ROWS] != noise[ROWS : 2 * ROWS]).all(dim=1).float().mean() > 0.99  # blocks do not repeat


def test_it_is_a_function_of_the_generator_and_out_of_place():
    x = torch.randn(10, 6, generator=seeded())
    before = x.clone()
    first, same, other = (signed_noise(x, 0.1, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(x, before) and torch.equal(first, same) and not torch.equal(first, other)
    generator = seeded(1)
    assert not torch.equal(signed_noise(x, 0.1, generator), signed_noise(x, 0.1, generator))


def test_the_gradient_is_one():
    x = torch.randn(5, 3, dtype=torch.float64, generator=seeded(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: signed_noise(x, 0.1, seeded(1)), (x,))


def test_transposed_memory_and_a_table_without_rows():
    x = torch.randn(6, 9, generator=seeded()).T
    assert torch.equal(signed_noise(x, 0.1, seeded(1)), signed_noise(x.contiguous(), 0.1, seeded(1)))
    assert signed_noise(torch.zeros(0, 4), 0.1, seeded()).shape == (0, 4)


@pytest.mark.parametrize("eps", [-0.1, float("nan")])
def test_a_negative_length_is_refused(eps):
    with pytest.raises(ConfigError, match="eps: found"):
        signed_noise(torch.zeros(2, 2), eps, seeded())
