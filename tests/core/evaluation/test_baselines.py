"""Raw input and principal components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation.baselines import Pca, pca, raw

pytestmark = pytest.mark.unit


def correlated(n: int, dim: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=g) * 0.8 ** torch.arange(dim) + 3


def test_raw_is_the_flattened_input() -> None:
    images = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    assert raw(images).dtype == torch.float32
    assert torch.equal(raw(images), torch.arange(24.0).view(2, 12))


def test_components_are_those_of_the_train_covariance() -> None:
    train, other = correlated(200, 10), correlated(50, 10, seed=1)
    vectors = torch.linalg.eigh(torch.cov(train.double().T))[1].flip(1)[:, :4]
    expected = (other - train.mean(dim=0)).double() @ vectors
    found = pca(train, other, 4).double()
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=1e-3, atol=1e-3)


def test_wide_inputs_keep_most_variance_and_repeat_to_the_bit() -> None:
    train = correlated(600, 700)
    reduced = pca(train, train)
    assert reduced.shape == (600, 128)
    assert reduced.var(dim=0).sum() > 0.99 * train.var(dim=0).sum()
    assert torch.equal(pca(train, train), reduced)


@pytest.mark.parametrize(("n", "dim", "kept"), [(5, 10, 5), (50, 10, 10), (300, 200, 128)])
def test_number_of_components(n: int, dim: int, kept: int) -> None:
    assert pca(correlated(n, dim), correlated(7, dim)).shape == (7, kept)


def test_nothing_but_train_is_fitted() -> None:
    train, other = correlated(60, 5), correlated(4, 5, seed=1)
    reduce = Pca(train)
    torch.testing.assert_close(reduce(other)[0], reduce(torch.cat([other[:1], 100 + other]))[0])
    assert reduce(train[:0]).shape == (0, 5)


def test_all_components_keep_distances_also_from_half_precision() -> None:
    x = correlated(30, 6).half()
    np.testing.assert_allclose(torch.pdist(pca(x, x)), torch.pdist(x.float()), rtol=1e-4)


def test_constant_rows_fall_on_one_point() -> None:
    assert pca(torch.ones(5, 3), torch.ones(2, 3)).abs().max() < 1e-6


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"batch: found shape \(3,\); allowed: \(N, ...\), one row per sample"):
        raw(torch.ones(3))
    with pytest.raises(ShapeError, match="batch: found NaN or infinity in row 1"):
        raw(torch.tensor([[[1.0]], [[np.nan]]]))
    with pytest.raises(ShapeError, match="train: found 1 rows; allowed: at least 2"):
        Pca(torch.ones(1, 3))
    with pytest.raises(ShapeError, match="features: found 2 dimensions; allowed: 3"):
        pca(torch.ones(4, 3), torch.ones(4, 2))
    with pytest.raises(ConfigError, match="components: found 0"):
        Pca(torch.ones(4, 3), 0)
