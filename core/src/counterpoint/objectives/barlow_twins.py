"""Barlow Twins: the two views' embeddings correlate dimension by dimension, and only so."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from counterpoint.objectives._inputs import check_above, check_at_least, check_views, full_precision, no_autocast
from counterpoint.objectives._sums import centre_over_ranks, off_diagonal, sum_over_ranks
from counterpoint.objectives.base import Objective, Reduction, Result


def barlow_twins_loss(embeddings: Sequence[Tensor], weight: float = 0.0051, eps: float = 1e-5) -> Result:
    """Distance of the views' cross-correlation matrix from the identity.

    With every dimension standardised over the batch of all ranks (mean 0, biased variance ``+ eps`` to 1)::

        C = 1/B  sum_i a_i b_i^T                                  (D, D), entries in [-1, 1]
        L = sum_d (1 - C_dd)^2  +  weight * sum_{d != e} C_de^2

    Of more than two views: the mean over all pairs.

    Args:
        embeddings: ``V >= 2`` tensors ``(B, D)``, not normalised; ``B >= 2`` over all ranks.
        weight: of the redundancy term, at least 0 (the paper's lambda; 0.0051 for D = 8192).
        eps: added to the variance, above 0, so that a dead dimension has correlation 0 and a finite gradient.

    Returns:
        loss, and the parts ``invariance`` and ``redundancy`` with ``loss = invariance + weight * redundancy``.

    Raises:
        ShapeError: views that do not fit, one sample only, or ranks with unequal batches.
        ConfigError: a setting out of its range.
    """
    check_views("embeddings", embeddings)
    check_at_least("weight", weight)
    check_above("eps", eps)
    views = torch.stack([full_precision(view) for view in embeddings])
    with no_autocast(views):
        standard, count = _standardise(views, eps)
        pairs = [
            _distances(sum_over_ranks(standard[a].T @ standard[b]) / count)
            for a, b in combinations(range(len(views)), 2)
        ]
    invariance, redundancy = torch.stack(pairs).mean(dim=0)
    parts = {"invariance": invariance.detach(), "redundancy": redundancy.detach()}
    return Result(invariance + weight * redundancy, parts)


def _standardise(views: Tensor, eps: float) -> tuple[Tensor, int]:
    """``(V, B, D)`` with mean 0 and variance 1 in each dimension, over all ranks, and the number of samples."""
    centred, count = centre_over_ranks(views)
    variance = sum_over_ranks(centred.square().sum(dim=1, keepdim=True)) / count
    return centred * (variance + eps).rsqrt(), count


def _distances(correlation: Tensor) -> Tensor:
    """Squared distance of a ``(D, D)`` matrix from the identity: on the diagonal, and beside it."""
    return torch.stack([(1 - correlation.diagonal()).square().sum(), off_diagonal(correlation).square().sum()])


class BarlowTwins(Objective):
    """Barlow Twins; see `barlow_twins_loss`.

    Relations: no negatives, no momentum encoder; contrasts *dimensions* where InfoNCE contrasts samples, so it wants
    wide embeddings (thousands) and gets along with small batches. VICReg keeps each view's own covariance instead.
    Unchanged when a dimension is shifted or stretched (up to ``eps``): a BatchNorm at the end of the heads changes
    nothing. Between an image and its text, ``weight=0.005``, it is BarLIP (Fini et al. 2023), which weighs it by 0.025.

    Args:
        weight: of the redundancy term, at least 0.
        eps: added to the variance, above 0.

    Raises:
        ConfigError: a setting out of its range.

    Over ranks: means, variances and the correlation are sums over all ranks' samples. Cost: ``O(B D^2)`` time,
    ``O(D^2)`` memory. Source: Zbontar et al. 2021, equations 1-2.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(self, weight: float = 0.0051, eps: float = 1e-5) -> None:
        super().__init__()
        check_at_least("weight", weight)
        check_above("eps", eps)
        self.weight = weight
        self.eps = eps
        self._dim: int | None = None

    def forward(self, embeddings: Sequence[Tensor], ids: Tensor | None = None) -> Result:
        """Loss of ``V >= 2`` views ``(B, D)``.

        ``ids`` is ignored: samples are not told apart here, so a duplicate does no harm.

        Raises:
            ShapeError: see `barlow_twins_loss`.
        """
        result = barlow_twins_loss(embeddings, self.weight, self.eps)
        self._dim = embeddings[0].shape[1]
        return result

    def chance(self, batch_size: int) -> float | None:
        """``D``: no correlation between the views, as with a constant encoder. None before the first batch showed D."""
        return None if self._dim is None else float(self._dim)
