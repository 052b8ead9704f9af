"""One step on a small batch as a single function: InfoNCE, NT-Xent and DCL, and the sigmoid loss.

At 64 samples the arithmetic takes a tenth of a millisecond and the bookkeeping of a dozen functions several times
that. So where one tile is the whole matrix, the same steps (unit rows, log-sum-exp, head) run here in a row, forward
and back, with nothing between them. Two views, one process, no queue, no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from counterpoint.objectives._head import PairList, head_backward, head_forward
from counterpoint.objectives._logsumexp import LOG2E, Job, Weights, forward_whole
from counterpoint.objectives._softplus import softplus_tile
from counterpoint.objectives._tiles import Grid, number
from counterpoint.objectives._unit import unit_backward, unit_forward

_ALL = slice(0, None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the step does. Rows against columns of the two views (``job.both``), or all rows against all (else)."""

    job: Job
    pairs: PairList
    decoupled: bool


class SmallStep(torch.autograd.Function):
    """Two views ``(B, D)`` of any length, scale -> loss and the four parts, as `Head` has them."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, scale: float | Tensor, plan: Plan) -> tuple[Tensor, ...]:
        factor, job = number(scale), plan.job
        unit, inverse = unit_forward(torch.cat([first, second]))
        anchors, candidates = unit.chunk(2) if job.both else (unit, unit)
        row, col, kept, _ = forward_whole(anchors, candidates, factor, job, ctx.needs_input_grad)
        sums = row.view(2, -1) if not job.both or col is None else torch.stack([row, col])
        negative = sums.log()
        loss, parts, q, _ = head_forward(unit, negative, factor, None, plan.pairs, plan.decoupled)
        ctx.plan, ctx.scale = plan, factor
        ctx.save_for_backward(unit, inverse, sums, negative, kept, q)
        ctx.mark_non_differentiable(*parts)
        return loss, *parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        unit, inverse, sums, negative, kept, q = ctx.saved_tensors
        plan, scale = ctx.plan, ctx.scale
        slope, logit, _ = head_backward(grad, negative, q, None, plan.decoupled)
        slope = slope.expand_as(negative) * scale
        pull = logit.expand_as(negative).sum(0) * scale
        tile = torch.empty_like(kept)
        if plan.job.both:
            weigh = Weights(plan.job, (sums[0], sums[1]), (slope[0], slope[1]))
            weights = weigh(kept, tile, _ALL, _ALL)
            weights.diagonal().add_(pull)  # the positives, which the sums leave out
            first, second = unit.chunk(2)
            total = torch.cat([torch.mm(weights, second), torch.mm(weights.t(), first)])
        else:
            weigh = Weights(plan.job, (sums.view(-1), None), (slope.view(-1),))
            weights = weigh(kept, tile, _ALL, _ALL)
            weights.diagonal(len(pull)).add_(pull)
            weights.diagonal(-len(pull)).add_(pull)
            total = torch.mm(weights, unit)
        grad_scale = (unit * total).sum() / (2.0 * scale) if ctx.needs_input_grad[2] else None
        first, second = unit_backward(unit, inverse, total).chunk(2)
        return first, second, grad_scale, None


class SmallSigmoid(torch.autograd.Function):
    """Two views ``(B, D)`` of any length, scale, bias -> sigmoid loss, mean cosine and mean probability of positives.

    Each pair's slope is its probability, less one for positives: the gradient is complete with the forward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, scale: float | Tensor, bias: float | Tensor, grid: Grid
    ) -> tuple[Tensor, ...]:
        factor, shift = number(scale), number(bias)
        unit, inverse = unit_forward(torch.cat([first, second]))
        anchors, candidates = unit.chunk(2)
        tile = torch.addmm(unit.new_full((), shift * LOG2E), anchors * (factor * LOG2E), candidates.t())
        positive = tile.diagonal() / LOG2E
        grid.leave_out(tile, _ALL, _ALL)
        total, slope = softplus_tile(tile, torch.empty_like(tile), True)
        loss = (total + F.softplus(-positive, threshold=50.0).sum()) / grid.n
        chosen = torch.sigmoid(positive)
        if any(ctx.needs_input_grad):
            slope.diagonal().add_(chosen - 1.0)
            by_unit = torch.cat([torch.mm(slope, candidates), torch.mm(slope.t(), anchors)])
            grad_scale = (by_unit * unit).sum() / (2.0 * grid.n) if ctx.needs_input_grad[2] else None
            grad_bias = slope.sum() / grid.n if ctx.needs_input_grad[3] else None
            grad_rows = unit_backward(unit, inverse, by_unit.mul_(factor / grid.n))
            ctx.save_for_backward(grad_rows, grad_scale, grad_bias)
        parts = ((positive.mean() - shift) / factor, chosen.mean())
        ctx.mark_non_differentiable(*parts)
        return loss, *parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        rows, scale, bias = ctx.saved_tensors
        first, second = (rows * grad).chunk(2)
        return first, second, None if scale is None else scale * grad, None if bias is None else bias * grad, None
