"""One step on a small batch as a single function: InfoNCE, NT-Xent and DCL, supervised contrast, the sigmoid loss.

At 64 samples the arithmetic takes a tenth of a millisecond and the bookkeeping of a dozen functions several times
that. So where one tile is the whole matrix, the same formulas run here in a row with nothing between them, and the
gradient is finished on the way forward, from the same exponentials: the backward pass only multiplies by what arrives
from above. Two views, one process, no queue, no weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.objectives._head import head_parts, head_value
from counterpoint.objectives._inputs import full_precision
from counterpoint.objectives._logsumexp import LOG2E, least
from counterpoint.objectives._softplus import softplus_tile
from counterpoint.objectives._tiles import number
from counterpoint.objectives._unit import unit_backward, unit_forward
from counterpoint.objectives.base import Parts, Result
from counterpoint.objectives.kernel import apply

_INF = math.inf


class Found(NamedTuple):
    """What a formula finds.

    Attributes:
        loss: scalar.
        parts: computes what the log wants, in the order of the objective's names.
        rows: gradient by the unit rows ``(2 B, D)``, or None where it is not wanted.
        bias: likewise by the bias.
    """

    loss: Tensor
    parts: Callable[[], tuple[Tensor, ...]]
    rows: Tensor | None = None
    bias: Tensor | None = None


Formula = Callable[[Tensor, float, float, bool], Found]
"""``(2 B, D)`` unit rows, scale, bias, whether gradients are wanted -> `Found`."""


def small_step(
    embeddings: Sequence[Tensor],
    scale: float | Tensor,
    bias: float | Tensor,
    formula: Formula,
    names: Sequence[str],
) -> Result:
    """The formula's loss and its parts under ``names``, for two views ``(B, D)`` of any length."""
    found: list[Found] = []
    loss = apply(_SmallStep, full_precision(embeddings[0]), full_precision(embeddings[1]), scale, bias, formula, found)
    parts = found[0].parts
    return Result(loss, Parts(lambda: dict(zip(names, parts()))))


class _SmallStep(torch.autograd.Function):
    """See `small_step`. What is no loss leaves by ``out``: as an output of the graph each number has its price."""

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        scale: float | Tensor,
        bias: float | Tensor,
        formula: Formula,
        out: list[Found],
    ) -> Tensor:
        unit, inverse = unit_forward(torch.cat([first, second]))
        found = formula(unit, number(scale), number(bias), any(ctx.needs_input_grad))
        if found.rows is not None:
            # Each logit is scale * u . v, and both rows of a pair have its slope: hence the half.
            by_scale = (found.rows * unit).sum() / (2.0 * number(scale)) if ctx.needs_input_grad[2] else None
            ctx.save_for_backward(unit_backward(unit, inverse, found.rows), by_scale, found.bias)
        out.append(found._replace(rows=None))
        return found.loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, by_scale, by_bias = ctx.saved_tensors
        first, second = (rows * grad).chunk(2)
        wanted = ctx.needs_input_grad
        return first, second, by_scale * grad if wanted[2] else None, by_bias * grad if wanted[3] else None, None, None


def smoothed(formula: Formula, amount: float) -> Formula:
    """Formula between two views -> the same with label smoothing, for samples that are all different.

    Then everything of the other view is a candidate, and the mean logit is a product of means: see `smoothing_gap`.
    """

    def formula_smoothed(unit: Tensor, scale: float, bias: float, learns: bool) -> Found:
        found = formula(unit, scale, bias, learns)
        views = unit.view(2, -1, unit.shape[1])
        apart = views.flip(0) - views.mean(1, keepdim=True).flip(0)  # positives, from the mean of all
        gap = torch.linalg.vecdot(views[0], apart[0]).mean() * scale
        found = found._replace(loss=found.loss + amount * gap)
        if found.rows is None:
            return found
        found.rows.add_(apart.view_as(unit), alpha=amount * scale / views.shape[1])
        return found

    return formula_smoothed


def cross_contrast(ids: Tensor | None, decoupled: bool) -> Formula:
    """InfoNCE or DCL in both directions between two views; parts as `Head` has them."""

    def formula(unit: Tensor, scale: float, bias: float, learns: bool) -> Found:
        first, second = unit.chunk(2)
        tile = _powers_of(first, second, scale)
        cosine = tile.diagonal() / (scale * LOG2E)
        _leave_out(tile, ids)
        tile.exp2_()
        sums = torch.stack([tile.sum(1), tile.sum(0)])
        loss, margin, _, slope = head_value(cosine, sums.log(), scale, decoupled)
        found = Found(loss, lambda: head_parts(cosine, margin.sigmoid()))
        if not learns:
            return found
        slope.mul_(scale / slope.numel())
        factor = slope / sums.clamp_min_(least(sums))
        weights = tile.mul_(factor[0, :, None] + factor[1])
        weights.diagonal().sub_(slope.sum(0))  # the positives, which the sums leave out
        return found._replace(rows=_both_sides(weights, first, second))

    return formula


def joint_contrast(ids: Tensor | None, decoupled: bool) -> Formula:
    """NT-Xent or its decoupled form: every row against all rows of both views; parts as `Head` has them."""

    def formula(unit: Tensor, scale: float, bias: float, learns: bool) -> Found:
        size = len(unit) // 2
        tile = _powers_of(unit, unit, scale)
        cosine = tile.diagonal(size) / (scale * LOG2E)
        _leave_out(tile.view(2, size, 2, size), ids)
        tile.exp2_()
        sums = tile.sum(1).view(2, size)
        loss, margin, _, slope = head_value(cosine, sums.log(), scale, decoupled)
        found = Found(loss, lambda: head_parts(cosine, margin.sigmoid()))
        if not learns:
            return found
        slope.mul_(scale / slope.numel())
        factor = (slope / sums.clamp_min_(least(sums))).view(-1)
        weights = tile.mul_(factor[:, None] + factor)  # symmetric: one product serves both roles of a row
        pull = slope.sum(0)
        weights.diagonal(size).sub_(pull)
        weights.diagonal(-size).sub_(pull)
        return found._replace(rows=torch.mm(weights, unit))

    return formula


def class_contrast(same: Tensor) -> Formula:
    """Supervised contrast; ``same``: ``(B, B)`` bool, whether two samples are of one class (the diagonal is)."""

    def formula(unit: Tensor, scale: float, bias: float, learns: bool) -> Found:
        size, rows = len(same), len(unit)
        positive = same.repeat(2, 2).fill_diagonal_(False) / (2 * same.sum(1) - 1.0).to(unit.dtype).repeat(2)[:, None]
        tile = _powers_of(unit, unit, scale)
        mean = torch.linalg.vecdot(tile, positive) / LOG2E
        own = tile.diagonal(size) / LOG2E
        tile.fill_diagonal_(-_INF).exp2_()
        sums = tile.sum(1)
        logs = sums.log()
        found = Found((logs - mean).mean(), lambda: (mean.mean() / scale, torch.exp(own - logs.view(2, size)).mean()))
        if not learns:
            return found
        factor = (scale / rows) / sums
        weights = tile.mul_(factor[:, None] + factor)
        weights.sub_(positive, alpha=scale / rows).sub_(positive.t(), alpha=scale / rows)
        return found._replace(rows=torch.mm(weights, unit))

    return formula


def pairwise_sigmoid(ids: Tensor | None) -> Formula:
    """The sigmoid loss between two views; parts: mean cosine and mean probability of positives."""

    def formula(unit: Tensor, scale: float, bias: float, learns: bool) -> Found:
        first, second = unit.chunk(2)
        size = len(first)
        tile = _powers_of(first, second, scale, bias)
        positive = tile.diagonal() / LOG2E
        if ids is not None:
            tile.masked_fill_(_equal(ids), -_INF)
        tile.diagonal().copy_(positive * -LOG2E)
        total, slope = softplus_tile(tile, torch.empty_like(tile), learns)
        found = Found(total / size, lambda: ((positive.mean() - bias) / scale, torch.sigmoid(positive).mean()))
        if not learns:
            return found
        slope.diagonal().neg_()
        by_bias = slope.sum() / size
        return found._replace(rows=_both_sides(slope.mul_(scale / size), first, second), bias=by_bias)

    return formula


def _powers_of(anchors: Tensor, candidates: Tensor, scale: float, bias: float = 0.0) -> Tensor:
    """Logits in base 2."""
    shift = anchors.new_full((), bias * LOG2E)
    return torch.addmm(shift, anchors, candidates.t(), beta=1 if bias else 0, alpha=scale * LOG2E)


def _equal(ids: Tensor) -> Tensor:
    return ids[:, None] == ids


def _leave_out(tile: Tensor, ids: Tensor | None) -> None:
    """Set pairs of equal id to -inf; ``tile`` is ``(B, B)``, or ``(2, B, 2, B)`` for both views on both sides."""
    if ids is None:
        tile.diagonal(0, tile.dim() // 2 - 1, tile.dim() - 1).fill_(-_INF)
        return
    same = _equal(ids)
    tile.masked_fill_(same if tile.dim() == 2 else same[None, :, None], -_INF)


def _both_sides(weights: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Gradients of both views' rows from the weights of their pairs: ``(2 B, D)``."""
    size = len(first)
    grad = first.new_empty(2 * size, first.shape[1])
    torch.mm(weights, second, out=grad[:size])
    torch.mm(weights.t(), first, out=grad[size:])
    return grad
