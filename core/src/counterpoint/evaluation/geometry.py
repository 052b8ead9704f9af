"""The shape of a cloud of features: collapse, spread, rank. No labels needed.

Uniformity and anisotropy take features as they come and normalise them here; all sums run in float64.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.objectives import density
from counterpoint.objectives.kernel import Pairs


def alignment(a: Tensor, b: Tensor, alpha: float = 2.0) -> float:
    """``E ||z - z+||^alpha`` over positive pairs of unit vectors: 0 (views coincide) to ``2**alpha``; lower is better.

    With ``alpha = 2`` it is ``2 - 2 * mean cosine``.

    Args:
        a: ``(N, D)`` embeddings of one view, normalised here.
        b: ``(N, D)`` embeddings of the other view of the same samples, in the same order.
        alpha: > 0.

    Raises:
        ShapeError: shapes that differ, no row, a row with NaN or infinity.

    Source: Wang & Isola 2020, eq. 4.
    """
    a = _check.features("a", a, dtype=torch.float64)
    b = _check.features("b", b, dim=a.shape[1], dtype=torch.float64)
    _check.same_rows(a, b)
    _check.positive("alpha", alpha)
    return float(density.alignment(_check.unit(a), _check.unit(b), alpha))


def uniformity(z: Tensor, t: float = 2.0, limit: int = 5000, seed: int = 0) -> float:
    """``log E_{i<j} exp(-t ||z_i - z_j||^2)`` over distinct pairs of unit vectors: 0 when collapsed; lower is better.

    Uniform on the sphere: -1.575 (D = 2), -3.513 (16), -3.938 (128). In tiles: memory does not grow with N^2.

    Args:
        z: ``(N, D)`` embeddings of one view, N >= 2, normalised here.
        t: > 0.
        limit: more rows than this are drawn at random down to it (the pairs grow as N^2).
        seed: of that draw.

    Raises:
        ShapeError: fewer than two rows, a row with NaN or infinity.

    Source: Wang & Isola 2020, eq. 5.
    """
    z = _check.features("z", z)
    _check.rows("z", z, 2, "Uniformity is a mean over pairs.")
    _check.positive("t", t)
    _check.at_least("limit", limit, 2)
    z = _check.unit(subsample(z, limit, seed)).double()
    rows = torch.arange(len(z), device=z.device)
    sums = density.log_gaussian_sums(z, z, t, Pairs(rows=(rows, rows)))
    return float(sums.logsumexp(dim=0)) - math.log(len(z) * (len(z) - 1))


def modality_gap(a: Tensor, b: Tensor) -> float:
    """Distance of the centres of two clouds of unit vectors, ``||mean a - mean b||``: 0 to 2.

    0: both modalities lie around one place. Contrast by itself leaves a gap: encoders begin in narrow cones of their
    own, and a low temperature keeps these apart. A gap says nothing of how well the modalities match.

    Args:
        a: ``(N, D)`` embeddings of one modality, normalised here.
        b: ``(M, D)`` embeddings of the other.

    Raises:
        ShapeError: no row, widths that differ, a row with NaN or infinity.

    Source: Liang et al. 2022, section 2.
    """
    a = _check.features("a", a, dtype=torch.float64)
    b = _check.features("b", b, dim=a.shape[1], dtype=torch.float64)
    _check.rows("a", a, 1)
    _check.rows("b", b, 1)
    return float((_check.unit(a).mean(dim=0) - _check.unit(b).mean(dim=0)).norm())


def subsample(x: Tensor, limit: int, seed: int = 0) -> Tensor:
    """At most ``limit`` rows, drawn without replacement by ``seed`` and kept in order."""
    if x.shape[0] <= limit:
        return x
    draw = torch.randperm(x.shape[0], generator=torch.Generator().manual_seed(seed))[:limit]
    return x[draw.sort().values.to(x.device)]


def rankme(
    features: Tensor, center: bool = False, spectrum: Literal["sv", "eig"] = "sv", epsilon: float = 1e-7
) -> float:
    """Effective rank ``exp(-sum p log p)`` with ``p = s / sum(s) + epsilon``: 1 (collapsed) to about ``min(N, D)``.

    Not centred and not normalised, as in the paper. Use N >= 10 D, and compare only runs of the same method and D: a
    shifted cloud scores lower than the same cloud centred.

    Args:
        features: ``(N, D)``, N >= 1.
        center: subtract the mean first.
        spectrum: ``"sv"`` singular values (the paper), ``"eig"`` their squares (some libraries).
        epsilon: added to each share.

    Raises:
        ShapeError: no row, a row with NaN or infinity.
        ConfigError: an unknown spectrum.

    Source: Garrido et al. 2023, eq. 1-2.
    """
    x = _check.features("features", features, dtype=torch.float64)
    _check.rows("features", x, 1)
    if spectrum not in ("sv", "eig"):
        raise ConfigError(message("spectrum", repr(spectrum), '"sv" or "eig"'))
    if center:
        x = x - x.mean(dim=0)
    # the smaller Gram matrix: its eigenvalues are the squared singular values, at a fraction of an SVD's time
    values = torch.linalg.eigvalsh(x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T).clamp_min_(0)
    values = torch.where(values > values.max() * x.shape[1] * 1e-15, values, 0.0)
    return _entropy_rank(values if spectrum == "eig" else values.sqrt(), epsilon)


def _entropy_rank(values: Tensor, epsilon: float) -> float:
    total = values.sum()
    if not total > 0:
        return 1.0  # every row is zero (or, centred, the same): one point
    p = values / total + epsilon
    return float(torch.exp(-(p * p.log()).sum()))


def lidar(views: Tensor, delta: float = 1e-4, epsilon: float = 1e-8) -> float:
    """Effective rank of the between-sample scatter, whitened by the within-sample scatter: 1 to ``min(D, n - 1)``.

    It sees what RankMe cannot (dimensions that hold only view noise), but pure noise scores high as well: never
    read it without the accuracy of a probe.

    Args:
        views: ``(n, q, D)``: ``q`` augmented views of each of ``n`` samples; stable from n = 1,000 and q = 10 on.
        delta: added to the diagonal of the within-sample scatter.
        epsilon: added to each eigenvalue.

    Raises:
        ShapeError: not three-dimensional, fewer than two samples or views, a row with NaN or infinity.

    Source: Thilak et al. 2024.
    """
    views = torch.as_tensor(views)
    if views.ndim != 3 or views.shape[0] < 2 or views.shape[1] < 2:
        raise ShapeError(message("views", f"shape {tuple(views.shape)}", "(samples >= 2, views >= 2, D)"))
    n, q, d = views.shape
    e = _check.features("views", views.reshape(n * q, d), dtype=torch.float64).view(n, q, d)
    means = e.mean(dim=1)
    apart, inside = means - means.mean(dim=0), (e - means[:, None]).reshape(n * q, d)
    between = apart.T @ apart / (n - 1)
    within = inside.T @ inside / (n * (q - 1)) + delta * torch.eye(d, dtype=e.dtype, device=e.device)
    factor, failed = torch.linalg.cholesky_ex(within)
    if int(failed):
        todo = "Use delta > 0, or more views than dimensions."
        raise ShapeError(message("views", "a within-sample scatter that is singular", "full rank", todo))
    half = torch.linalg.solve_triangular(factor, between, upper=False)
    whitened = torch.linalg.solve_triangular(factor, half.T, upper=False)
    values = torch.linalg.eigvalsh((whitened + whitened.T) / 2).clamp_min_(0) + epsilon
    return _entropy_rank(values, 0.0)


def anisotropy(z: Tensor) -> float:
    """Mean cosine of distinct rows, ``(N ||mean z||^2 - 1) / (N - 1)``: 0 isotropic, 1 one direction.

    Args:
        z: ``(N, D)``, N >= 2, normalised here.

    Raises:
        ShapeError: fewer than two rows, a row of zeros, a row with NaN or infinity.

    Source: Ethayarajh 2019.
    """
    z = _check.features("z", z, dtype=torch.float64)
    _check.rows("z", z, 2, "Anisotropy is a mean over pairs.")
    z = _check.unit(z)
    squares = float(z.square().sum())  # N, less the rows of zeros
    return (float(z.sum(dim=0).square().sum()) - squares) / (len(z) * (len(z) - 1))


def top_component_share(features: Tensor) -> float:
    """Share of the variance that lies along the first principal component: ``1/D`` isotropic, 1 a line.

    Args:
        features: ``(N, D)``, N >= 2, used as they are.

    Raises:
        ShapeError: fewer than two rows, a row with NaN or infinity.
    """
    x = _check.features("features", features, dtype=torch.float64)
    _check.rows("features", x, 2, "Variance needs two rows.")
    x = x - x.mean(dim=0)
    values = torch.linalg.eigvalsh(x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T).clamp_min_(0)
    total = float(values.sum())
    return float(values.max()) / total if total > 0 else 1.0


def feature_std(z: Tensor) -> float:
    """Mean over dimensions of the std of unit rows: near ``1/sqrt(D)`` when healthy, 0 when collapsed.

    Args:
        z: ``(N, D)``, N >= 2, normalised here. Population std (divisor N).

    Raises:
        ShapeError: fewer than two rows, a row with NaN or infinity.

    Source: Chen & He 2021 (SimSiam), section 4.1.
    """
    z = _check.features("z", z, dtype=torch.float64)
    _check.rows("z", z, 2, "A standard deviation needs two rows.")
    return float(_check.unit(z).std(dim=0, correction=0).mean())


def healthy_std(dim: int) -> float:
    """What `feature_std` is for features that spread over the whole sphere: ``1/sqrt(D)``."""
    _check.at_least("dim", dim)
    return 1 / math.sqrt(dim)
