"""Geometry against dense sums, published values, and the laws each quantity obeys."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation.geometry import (
    alignment,
    anisotropy,
    feature_std,
    healthy_std,
    lidar,
    modality_gap,
    rankme,
    subsample,
    top_component_share,
    uniformity,
)

pytestmark = pytest.mark.unit


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(dim: int) -> Tensor:
    return torch.linalg.qr(gaussian(dim, dim, seed=5).double())[0]


def test_alignment_is_zero_only_where_views_coincide() -> None:
    a = gaussian(50, 6)
    assert alignment(a, 3 * a) == pytest.approx(0, abs=1e-12)
    assert alignment(a, a + 0.01 * gaussian(50, 6, seed=1)) > 0
    assert alignment(a, -a) == pytest.approx(4)


def test_alignment_is_two_less_twice_the_mean_cosine() -> None:
    a, b = gaussian(50, 6), gaussian(50, 6, seed=1)
    cosine = torch.cosine_similarity(a.double(), b.double()).mean().item()
    assert alignment(a, b) == pytest.approx(2 - 2 * cosine)
    distance = (normalize(a.double()) - normalize(b.double())).norm(dim=1).mean().item()
    assert alignment(a, b, alpha=1) == pytest.approx(distance)


@pytest.mark.parametrize("n", [2, 37, 50])
def test_uniformity_equals_the_dense_sum_over_pairs(n: int) -> None:
    z = normalize(gaussian(n, 5).double())
    dense = torch.pdist(z).square().mul(-3.0).exp().mean().log().item()
    assert uniformity(z, t=3.0) == pytest.approx(dense, rel=1e-9)


@pytest.mark.parametrize(("dim", "value"), [(2, -1.575), (3, -2.078), (16, -3.513), (128, -3.938), (512, -3.984)])
def test_uniformity_of_the_sphere(dim: int, value: float) -> None:
    assert uniformity(gaussian(2000, dim)) == pytest.approx(value, abs=0.02)


def test_uniformity_of_collapse_is_zero_also_in_half_precision() -> None:
    assert uniformity(torch.ones(20, 8)) == pytest.approx(0, abs=1e-6)
    assert uniformity(torch.ones(20, 8).half()) == pytest.approx(0, abs=1e-6)


def test_uniformity_draws_many_rows_down_the_same_way_each_time() -> None:
    z = gaussian(500, 4)
    assert uniformity(z, limit=100) == uniformity(z, limit=100)
    assert uniformity(z, limit=100) == pytest.approx(uniformity(z), abs=0.1)
    assert uniformity(z, limit=100, seed=1) != uniformity(z, limit=100)


def test_subsample_keeps_order_and_takes_no_row_twice() -> None:
    rows = subsample(torch.arange(1000.0)[:, None], 100).flatten()
    assert len(rows) == 100
    assert bool((rows[1:] > rows[:-1]).all())


@pytest.mark.parametrize(("n", "value"), [(500, 123.6), (5000, 127.6)])
def test_rankme_of_a_gaussian(n: int, value: float) -> None:
    assert rankme(gaussian(n, 128)) == pytest.approx(value, abs=0.2)


def test_rankme_of_a_shifted_gaussian_depends_on_centring() -> None:
    x = gaussian(5000, 128) + 3
    assert rankme(x) == pytest.approx(76.1, abs=0.5)
    assert rankme(x, center=True) == pytest.approx(127.6, abs=0.2)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 30), d=st.integers(1, 12), seed=st.integers(0, 99))
def test_rankme_equals_the_formula_on_singular_values(n: int, d: int, seed: int) -> None:
    x = gaussian(n, d, seed=seed).double()
    p = torch.linalg.svdvals(x)
    p = p / p.sum() + 1e-7
    assert rankme(x) == pytest.approx(math.exp(-(p * p.log()).sum().item()), rel=1e-4)


def test_rankme_by_eigenvalues_is_the_entropy_of_their_shares() -> None:
    x = gaussian(40, 6).double()
    p = torch.linalg.svdvals(x).square()
    p = p / p.sum()
    assert rankme(x, spectrum="eig", epsilon=0.0) >= 1
    assert rankme(x, spectrum="eig", epsilon=1e-12) == pytest.approx(math.exp(-(p * p.log()).sum().item()))


def test_rankme_limits() -> None:
    line = torch.outer(gaussian(50), gaussian(16, seed=1))
    assert rankme(line) == pytest.approx(1, abs=1e-3)
    assert rankme(torch.zeros(5, 4)) == 1.0
    assert rankme(torch.ones(5, 4), center=True) == 1.0
    assert rankme(torch.ones(1, 4)) == pytest.approx(1, abs=1e-3)
    assert rankme(gaussian(5, 64)) <= 5.01


def test_rankme_is_unchanged_by_scale_and_rotation() -> None:
    x = gaussian(60, 8).double() * torch.arange(1, 9)
    assert rankme(1000 * x) == pytest.approx(rankme(x))
    assert rankme(x @ rotation(8)) == pytest.approx(rankme(x))


def test_every_quantity_is_unchanged_by_rotation() -> None:
    x, y, turn = gaussian(60, 8).double() + 1, gaussian(60, 8, seed=1).double(), rotation(8)
    assert alignment(x @ turn, y @ turn) == pytest.approx(alignment(x, y))
    assert uniformity(x @ turn) == pytest.approx(uniformity(x))
    assert anisotropy(x @ turn) == pytest.approx(anisotropy(x))
    assert top_component_share(x @ turn) == pytest.approx(top_component_share(x))
    views = gaussian(20, 3, 8).double()
    assert lidar(views @ turn) == pytest.approx(lidar(views))


def test_lidar_is_unchanged_by_any_invertible_map_without_delta() -> None:
    views = (gaussian(60, 1, 6) + 0.3 * gaussian(60, 5, 6, seed=1)).double()
    skew = gaussian(6, 6, seed=2).double() + 2 * torch.eye(6)
    assert lidar(views @ skew, delta=0.0) == pytest.approx(lidar(views, delta=0.0), rel=1e-6)


def test_lidar_sees_dimensions_that_hold_only_view_noise() -> None:
    views = gaussian(1000, 1, 64) * (torch.arange(64) < 8) + 0.3 * gaussian(1000, 10, 64, seed=1)
    assert lidar(views) == pytest.approx(11.1, abs=0.3)
    assert rankme(views.reshape(-1, 64)) > 50
    assert lidar(gaussian(1000, 10, 64)) > 55  # pure noise scores high too: the documented pitfall


def test_lidar_equals_the_formula_with_matrix_roots() -> None:
    e = (gaussian(30, 1, 5) + 0.5 * gaussian(30, 4, 5, seed=1)).double()
    means = e.mean(1)
    between = torch.cov(means.T)
    within = (e - means[:, None]).reshape(-1, 5)
    within = within.T @ within / (30 * 3) + 1e-4 * torch.eye(5)
    values, vectors = torch.linalg.eigh(within)
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    p = torch.linalg.eigvalsh(root @ between @ root) + 1e-8
    p = p / p.sum()
    assert lidar(e) == pytest.approx(math.exp(-(p * p.log()).sum().item()), rel=1e-6)


def test_anisotropy_is_the_mean_cosine_of_distinct_rows() -> None:
    z = normalize(gaussian(30, 4).double() + 0.5)
    cosine = z @ z.T
    dense = (cosine.sum() - cosine.diagonal().sum()).item() / (30 * 29)
    assert anisotropy(z) == pytest.approx(dense)
    assert anisotropy(torch.ones(10, 3)) == pytest.approx(1)
    assert anisotropy(gaussian(4000, 16)) == pytest.approx(0, abs=0.01)


def test_top_component_share() -> None:
    x = gaussian(40, 6).double()
    variances = torch.linalg.eigvalsh(torch.cov(x.T))
    assert top_component_share(x) == pytest.approx((variances[-1] / variances.sum()).item())
    assert top_component_share(torch.outer(gaussian(20), gaussian(5, seed=1))) == pytest.approx(1)
    assert top_component_share(gaussian(5, 40)) <= 1
    assert top_component_share(torch.ones(4, 3)) == 1.0


def test_feature_std_is_one_over_the_root_of_d_or_zero() -> None:
    assert feature_std(gaussian(2000, 64)) == pytest.approx(healthy_std(64), rel=0.02)
    assert feature_std(5 * torch.ones(20, 64)) == pytest.approx(0, abs=1e-12)
    assert healthy_std(64) == 0.125


def test_a_row_of_zeros_is_no_direction() -> None:
    z = torch.cat([torch.zeros(1, 4), torch.ones(3, 4)])
    assert anisotropy(z) == pytest.approx(0.5)  # three of the six pairs


def test_the_gap_is_the_distance_of_the_centres() -> None:
    a, b = gaussian(40, 6), gaussian(25, 6, seed=1) + 1.0
    expected = (normalize(a, dim=1).mean(dim=0) - normalize(b, dim=1).mean(dim=0)).norm()
    assert modality_gap(a, b) == pytest.approx(float(expected), rel=1e-5)
    assert modality_gap(a, 7 * a.flip(0)) == pytest.approx(0, abs=1e-6)  # of clouds, not of pairs
    assert modality_gap(torch.ones(3, 6), -torch.ones(2, 6)) == pytest.approx(2)
    turn = rotation(6)
    assert modality_gap(a.double() @ turn, b.double() @ turn) == pytest.approx(modality_gap(a, b), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: alignment(gaussian(4, 3), gaussian(5, 3)), ShapeError, "b: found 5 rows; allowed: 4, as in a. Row i"),
        (lambda: alignment(gaussian(4, 3), gaussian(4, 2)), ShapeError, "b: found 2 dimensions; allowed: 3"),
        (lambda: alignment(gaussian(0, 3), gaussian(0, 3)), ShapeError, "a: found 0 rows"),
        (lambda: alignment(gaussian(4, 3), gaussian(4, 3), alpha=0), ConfigError, "alpha: found 0"),
        (lambda: uniformity(gaussian(1, 3)), ShapeError, "z: found 1 rows; allowed: at least 2. Uniformity is a mean"),
        (lambda: uniformity(gaussian(3, 3), t=-1), ConfigError, "t: found -1"),
        (lambda: uniformity(gaussian(3, 3), limit=1), ConfigError, "limit: found 1; allowed: a whole number >= 2"),
        (lambda: rankme(gaussian(0, 3)), ShapeError, "features: found 0 rows"),
        (lambda: rankme(gaussian(3, 3), spectrum="svd"), ConfigError, "spectrum: found 'svd'; allowed: \"sv\" or"),
        (lambda: lidar(gaussian(3, 3)), ShapeError, r"views: found shape \(3, 3\); allowed: \(samples >= 2"),
        (lambda: lidar(gaussian(3, 1, 3)), ShapeError, "views: found shape"),
        (lambda: lidar(torch.ones(3, 2, 4), delta=0.0), ShapeError, "singular; allowed: full rank. Use delta > 0"),
        (lambda: anisotropy(gaussian(1, 3)), ShapeError, "z: found 1 rows"),
        (lambda: modality_gap(gaussian(3, 3), gaussian(0, 3)), ShapeError, "b: found 0 rows"),
        (lambda: modality_gap(gaussian(3, 3), gaussian(3, 2)), ShapeError, "b: found 2 dimensions; allowed: 3"),
        (lambda: feature_std(gaussian(1, 3)), ShapeError, "z: found 1 rows"),
        (lambda: top_component_share(gaussian(1, 3)), ShapeError, "features: found 1 rows"),
        (lambda: rankme(torch.tensor([[1.0], [math.nan]])), ShapeError, "NaN or infinity in row 1;"),
        (lambda: healthy_std(0), ConfigError, "dim: found 0"),
    ],
)
def test_errors(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]
