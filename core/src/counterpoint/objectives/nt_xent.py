"""NT-Xent: SimCLR's objective."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.objectives import kernel
from counterpoint.objectives._contrast import Contrast, Options, PosWeight, bound, contrast, with_queue
from counterpoint.objectives._rows import Rows
from counterpoint.objectives.base import Result

__all__ = ["NTXent", "nt_xent_loss"]


def nt_xent_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    symmetric: bool = True,
    in_batch: bool = True,
    decoupled: bool = False,
    pos_weight: PosWeight | None = None,
    sigma: float = 0.5,
    weight_gradient: bool = False,
) -> Result:
    """Find, for each row, another view of its sample among all views of all samples.

    With unit rows ``z[v, i]`` of view ``v`` and sample ``i`` and ``s(x, y) = x . y / temperature``::

        U[a, i] = sum over views v and samples j of other ids of exp s(z[a, i], z[v, j])  +  sum over the queue
        L[a, b, i] = - s(z[a, i], z[b, i]) + log(exp s(z[a, i], z[b, i]) + U[a, i])
        L = mean over ordered pairs (a, b) of views and samples i

    With two views that is SimCLR's loss: 2B - 2 negatives and one positive. With more, each other view is the positive
    in turn, and the remaining views of the sample are neither positives nor negatives of that term.

    **Relations.** `info_nce_loss` without the anchor's own view; `dcl_loss` without the positive in the logarithm;
    `sup_con_loss` without labels averages the positives of more than two views over one common denominator.

    **Several processes.** The rows of all ranks are candidates, with gradients (reduction ``"gather"``). The queue is
    each rank's own and is not gathered: keep it equal on all ranks to have the loss of one process.

    **Cost.** On one process two products of ``VB x VB x D`` (the matrix is symmetric), else four; memory ``O(V B D)``.

    Args:
        embeddings: V views, two or more, each ``(B, D)``, any length: they are normalised here, in float32. A zero row
            has similarity 0 to all and gets no gradient.
        ids: ``(B,)`` int64 content ids; samples of equal id are never negatives of each other. None: all differ.
        negatives: ``(M, D)`` further negatives, without gradient.
        negative_ids: ``(M,)`` int64 content ids of these.
        temperature: above 0, usually 0.05 to 0.5; a scalar tensor takes its gradient.
        symmetric: every view is the anchor in turn; else only the first.
        in_batch: the batch's other samples are negatives; else only ``negatives`` are.
        decoupled: drop the positive from the denominator.
        pos_weight: ``"neg_vmf"``: see `dcl_loss`.
        sigma: width of that weight, above 0.
        weight_gradient: let the gradient flow through the weight.

    Returns:
        loss; parts ``positive`` (mean cosine of positives), ``p_positive`` (mean probability of the positive),
        ``q_mean``, ``q_std`` (of 1 - that probability).

    Raises:
        ShapeError: inputs that do not fit, no negative at all, or a NaN row (named).
        ConfigError: an option out of its range.

    Source: Chen et al. 2020 (arXiv 2002.05709), eq. 1.
    """
    options = Options(symmetric, in_batch, decoupled, pos_weight, sigma, weight_gradient)
    return contrast(embeddings, ids, negatives, negative_ids, temperature, options, _negatives, cross=False)


def _negatives(rows: Rows, scale: float | Tensor, options: Options) -> Tensor:
    """Log-sum-exps of the negatives, ``(ordered pairs, B)``."""
    views = len(rows.views)
    anchors = rows.joined if options.symmetric else rows.views[0]
    found = _in_batch(rows, anchors, scale, options) if options.in_batch else None
    found = with_queue(rows, anchors, found, scale).view(-1, rows.size)
    return found if views == 2 else found.repeat_interleave(views - 1, dim=0)


def _in_batch(rows: Rows, anchors: Tensor, scale: float | Tensor, options: Options) -> Tensor:
    everyone = rows.all_keys(len(rows.views))
    if rows.alone and options.symmetric:
        return kernel.logsumexp(anchors, None, scale, pairs=kernel.Pairs(ids=(everyone, everyone)), bound=bound(scale))
    pairs = kernel.Pairs(ids=(rows.keys(len(anchors) // rows.size), everyone))
    candidates = rows.joined if rows.alone else torch.cat(list(rows.everyone))
    return kernel.logsumexp(anchors, candidates, scale, pairs=pairs, bound=bound(scale))


class NTXent(Contrast):
    """`nt_xent_loss` as a module."""

    _every_view = True
    _collect = staticmethod(_negatives)
