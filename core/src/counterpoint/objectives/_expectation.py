"""Forward and backward of the tiled softmax mean: what a softmax over the counted candidates expects of the cosine.

For ``c[i, j] = a[i] . c[j]`` and ``P[i] = softmax of scale * c[i]`` over the counted candidates of anchor ``i``::

    l[i] = log sum_j exp(scale * c[i, j])       dl / dc[i, j] = scale * P[i, j]
    m[i] = sum_j P[i, j] c[i, j]                dm / dc[i, j] = P[i, j] (1 + scale * (c[i, j] - m[i])), or
                                                dm / dc[i, j] = P[i, j]             where the weights are held

The forward pass gathers ``A[i] = sum_j P[i, j] c[j]``, of which ``m[i] = a[i] . A[i]``; with held weights that is the
anchors' gradient as well, so that the backward pass looks at the tiles again only for the candidates' sake.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.objectives._logsumexp import LOG2E, Job, tile_logits
from counterpoint.objectives._tiles import INF, Scratch


class SoftmaxMean(torch.autograd.Function):
    """``(N, D)`` anchors, ``(M, D)`` candidates -> ``(N,)`` log-sum-exps and ``(N,)`` means (-inf and 0 of nothing).

    With held weights the log-sum-exps take no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, scale: float, held: bool, job: Job
    ) -> tuple[Tensor, Tensor]:
        logs, attended = _forward(anchors, candidates, scale, job)
        mean: Tensor = torch.linalg.vecdot(anchors, attended)
        ctx.job, ctx.scale, ctx.held = job, scale, held
        ctx.save_for_backward(anchors, candidates, logs, mean, attended)
        total = logs / LOG2E
        if held:
            ctx.mark_non_differentiable(total)
        return total, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_log: Tensor, by_mean: Tensor) -> tuple[Tensor | None, ...]:
        anchors, candidates, logs, mean, attended = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if ctx.held:
            grad_a = attended * by_mean[:, None]
            grad_c = None
            if wanted[1]:
                _, grad_c = _backward(ctx, anchors, candidates, logs, by_mean, None, anchors_too=False)
        else:
            plain = by_mean + ctx.scale * (by_log.masked_fill(logs == -INF, 0.0) - by_mean * mean)
            grad_a, grad_c = _backward(ctx, anchors, candidates, logs, plain, by_mean, anchors_too=True)
        return grad_a, grad_c if wanted[1] else None, None, None, None


def _forward(anchors: Tensor, candidates: Tensor, scale: float, job: Job) -> tuple[Tensor, Tensor]:
    """Base-2 log-sum-exps ``(N,)`` and attended candidates ``(N, D)``."""
    grid, scratch = job.grid, Scratch(job.grid, anchors)
    top = anchors.new_full((grid.n,), 0.0 if job.fast else -INF)
    total, attended = anchors.new_zeros(grid.n), torch.zeros_like(anchors)
    for rows, cols in grid:
        tile = tile_logits(scratch.tile(rows, cols), anchors, candidates, scale, job, rows, cols)
        if not job.fast:
            higher = torch.maximum(top[rows], tile.amax(1)).clamp_(min=torch.finfo(tile.dtype).min)
            shrink = torch.exp2(top[rows] - higher)
            total[rows] *= shrink
            attended[rows] *= shrink[:, None]
            top[rows] = higher
            tile.sub_(higher[:, None])
        tile.exp2_()
        total[rows] += tile.sum(1)
        attended[rows].addmm_(tile, candidates[cols])
    attended.div_(total.masked_fill(total == 0, 1.0)[:, None])
    return total.log2().add_(top), attended


def _backward(
    ctx: Any,
    anchors: Tensor,
    candidates: Tensor,
    logs: Tensor,
    plain: Tensor,
    by_logit: Tensor | None,
    anchors_too: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients from the weights ``P (plain + by_logit * logit)``, each tile computed again."""
    job, scale = ctx.job, ctx.scale
    scratch, other = Scratch(job.grid, anchors), Scratch(job.grid, anchors)
    grad_a, grad_c = torch.zeros_like(anchors), torch.zeros_like(candidates)
    shift = logs.masked_fill(logs == -INF, 0.0)
    for rows, cols in job.grid:
        tile = tile_logits(scratch.tile(rows, cols), anchors, candidates, scale, job, rows, cols)
        weights = torch.sub(tile, shift[rows, None], out=other.tile(rows, cols)).exp2_()
        if by_logit is None:
            weights.mul_(plain[rows, None])
        else:
            tile.masked_fill_(weights == 0, 0.0)  # a pair that is left out has the logit -inf
            weights.mul_(tile.mul_(by_logit[rows, None] / LOG2E).add_(plain[rows, None]))
        if anchors_too:
            grad_a[rows].addmm_(weights, candidates[cols])
        grad_c[cols].addmm_(weights.t(), anchors[rows])
    return grad_a, grad_c
