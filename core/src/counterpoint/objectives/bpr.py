"""Bayesian personalised ranking: what somebody chose scores above what they did not."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ShapeError, message
from counterpoint.objectives._inputs import full_precision, no_autocast
from counterpoint.objectives.base import Objective, Reduction, Result


def bpr_loss(positive_scores: Tensor, negative_scores: Tensor) -> Result:
    """Log-likelihood of each chosen item being ranked above the items drawn beside it.

    ::

        x_ik = positive_i - negative_ik
        L = mean_ik (-log sigmoid(x_ik)) = mean_ik softplus(-x_ik)

    In this form no score is too far away to learn from; released codes that write ``-log(1e-5 + sigmoid(x))`` lose the
    gradient of pairs that are ranked very wrongly (below ``x = -11.5``), and fall short of 0 by 1e-5 at best.

    Args:
        positive_scores: ``(B,)`` scores of chosen items.
        negative_scores: ``(B,)`` or ``(B, K)`` scores of items that were not chosen, by the same chooser.

    Returns:
        loss; parts ``auc`` (share of pairs in the right order, ties half) and ``margin`` (mean of x).

    Raises:
        ShapeError: scores that are no floats, are empty, or do not fit.

    Source: Rendle et al. 2009 (arXiv 1205.2618), eq. 4.
    """
    _check(positive_scores, negative_scores)
    with no_autocast(positive_scores):
        negative = full_precision(negative_scores).view(len(positive_scores), -1)
        margin = full_precision(positive_scores)[:, None] - negative
        loss = F.softplus(-margin, threshold=50.0).mean()
    found = margin.detach()
    return Result(loss, {"auc": found.sign().mean().add(1).div(2), "margin": found.mean()})


def _check(positive: Tensor, negative: Tensor) -> None:
    for name, scores in (("positive_scores", positive), ("negative_scores", negative)):
        if not scores.is_floating_point():
            raise ShapeError(message(name, scores.dtype, "floating point", "Convert it with .float()."))
    if positive.dim() != 1 or not len(positive):
        raise ShapeError(message("positive_scores", f"shape {tuple(positive.shape)}", "(B,) with B at least 1"))
    if negative.dim() not in (1, 2) or len(negative) != len(positive) or not negative.numel():
        allowed = f"({len(positive)},) or ({len(positive)}, K), as in positive_scores"
        raise ShapeError(message("negative_scores", f"shape {tuple(negative.shape)}", allowed))


class BPR(Objective):
    """Pairwise ranking of scores; see `bpr_loss`.

    Relations: with one negative it is the logistic loss of the difference, and InfoNCE over two candidates at
    temperature 1 without normalisation; InfoNCE over a batch ranks against many at once. The gradient by an anchor
    ``e_u`` with ``score = <e_u, e_i>`` is ``-(1 - sigmoid(x)) (e_i - e_j) / B``: pairs in the right order teach little,
    so that hard negatives matter more than many.

    Over ranks: each pair's term stands alone, so the mean over ranks is right. Cost: ``O(B K)``.
    """

    reduction: ClassVar[Reduction] = "mean"

    def forward(self, positive_scores: Tensor, negative_scores: Tensor) -> Result:
        """Loss of ``(B,)`` scores of chosen items against ``(B,)`` or ``(B, K)`` of others."""
        return bpr_loss(positive_scores, negative_scores)

    def chance(self, batch_size: int) -> float | None:
        """``log 2``: all scores equal."""
        return math.log(2)
