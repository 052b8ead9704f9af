"""VICReg: views agree (invariance), dimensions stay alive (variance) and differ (covariance)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from counterpoint.objectives._inputs import check_above, check_at_least, check_views, full_precision, no_autocast
from counterpoint.objectives._sums import centre_over_ranks, off_diagonal, sum_over_ranks
from counterpoint.objectives.base import Objective, Reduction, Result


def vicreg_loss(
    embeddings: Sequence[Tensor],
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
) -> Result:
    """Invariance, variance and covariance terms of a batch of views.

    For two views ``a``, ``b`` with unbiased covariance matrices over the batch of all ranks::

        i = 1/(B D) sum |a - b|^2
        v = 1/2 sum_{z in a, b}  1/D sum_d max(0, target_std - sqrt(Cov(z)_dd + eps))
        c =     sum_{z in a, b}  1/D sum_{d != e} Cov(z)_de^2
        L = invariance * i + variance * v + covariance * c

    ``1/D`` in ``i`` and ``1/2`` in ``v`` are those of the released code, which the default weights belong to (the
    paper's equations leave them out). Of more than two views: the mean over all pairs.

    Args:
        embeddings: ``V >= 2`` tensors ``(B, D)``, not normalised; ``B >= 2`` over all ranks.
        invariance: weight of ``i``, at least 0.
        variance: weight of ``v``, at least 0.
        covariance: weight of ``c``, at least 0.
        target_std: standard deviation that every dimension is pushed up to (the paper's gamma), above 0.
        eps: added to the variance, above 0, so that a dead dimension has a finite gradient.

    Returns:
        loss, and the parts ``invariance``, ``variance``, ``covariance``, not weighted.

    Raises:
        ShapeError: views that do not fit, one sample only, or ranks with unequal batches.
        ConfigError: a setting out of its range.
    """
    _check_settings(invariance, variance, covariance, target_std, eps)
    check_views("embeddings", embeddings)
    views = torch.stack([full_precision(view) for view in embeddings])
    with no_autocast(views):
        centred, count = centre_over_ranks(views)
        spread, redundancy = _moments(centred, count, target_std, eps)
    distance = torch.stack([(a - b).square().mean() for a, b in combinations(views, 2)]).mean()
    loss = invariance * distance + variance * spread + covariance * redundancy
    parts = {"invariance": distance, "variance": spread, "covariance": redundancy}
    return Result(loss, {name: part.detach() for name, part in parts.items()})


def _moments(centred: Tensor, count: int, target_std: float, eps: float) -> tuple[Tensor, Tensor]:
    """Variance and covariance terms of ``(V, B, D)`` centred rows, over all ranks."""
    matrices = sum_over_ranks(centred.transpose(1, 2) @ centred) / (count - 1)
    std = (matrices.diagonal(dim1=1, dim2=2) + eps).sqrt()
    redundancy = torch.stack([off_diagonal(matrix).square().sum() for matrix in matrices]).mean()
    return (target_std - std).clamp_min(0).mean(), 2 * redundancy / centred.shape[2]


def _check_settings(invariance: float, variance: float, covariance: float, target_std: float, eps: float) -> None:
    check_at_least("invariance", invariance)
    check_at_least("variance", variance)
    check_at_least("covariance", covariance)
    check_above("target_std", target_std)
    check_above("eps", eps)


class VICReg(Objective):
    """VICReg; see `vicreg_loss`.

    Relations: Barlow Twins' two aims as three separate terms, each view regularised by itself, so the views may come
    from different encoders or modalities. No negatives, no normalisation of the embeddings.

    Args:
        invariance: weight, at least 0.
        variance: weight, at least 0.
        covariance: weight, at least 0.
        target_std: standard deviation wanted in every dimension, above 0.
        eps: added to the variance, above 0.

    Raises:
        ConfigError: a setting out of its range.

    Over ranks: means and covariances are sums over all ranks' samples; the invariance term is each sample's own. Cost:
    ``O(B D^2)`` time, ``O(V D^2)`` memory. Source: Bardes et al. 2022, equations 1-6 and algorithm 1.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        target_std: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        _check_settings(invariance, variance, covariance, target_std, eps)
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.target_std = target_std
        self.eps = eps

    def forward(self, embeddings: Sequence[Tensor], ids: Tensor | None = None) -> Result:
        """Loss of ``V >= 2`` views ``(B, D)``.

        ``ids`` is ignored: samples are not told apart here, so a duplicate does no harm.

        Raises:
            ShapeError: see `vicreg_loss`.
        """
        return vicreg_loss(embeddings, self.invariance, self.variance, self.covariance, self.target_std, self.eps)

    def chance(self, batch_size: int) -> float:
        """Loss of a constant encoder: only the variance term is left, ``variance * (target_std - sqrt(eps))``."""
        return self.variance * max(0.0, self.target_std - math.sqrt(self.eps))
