"""Forward and backward of the tiled sum of softplus: the negatives' part of the sigmoid loss.

Every pair's term stands alone, so the gradient is known in the forward pass up to the one factor that arrives from
above: the matrix is computed once, and the backward pass only multiplies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from counterpoint.objectives._logsumexp import LOG2E
from counterpoint.objectives._tiles import Grid, Scratch, number

_SAFE = 80.0  # e^80 is a normal float32 number
_FEW = 4096  # so many logarithms cost less than the operations that would save them


class SoftplusSum(torch.autograd.Function):
    """Sum over the counted pairs of ``log(1 + exp(scale * a . c + bias))``: a scalar."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, scale: float | Tensor, bias: float | Tensor, grid: Grid
    ) -> Tensor:
        factor = number(scale)
        learns = any(ctx.needs_input_grad)
        total, grads = _forward(anchors, candidates, factor, number(bias), grid, learns)
        if grads is not None:
            grad_a, grad_c, grad_bias = grads
            grad_scale = (anchors * grad_a).sum() if ctx.needs_input_grad[2] else None
            ctx.save_for_backward(grad_a.mul_(factor), grad_c.mul_(factor), grad_scale, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.saved_tensors
        return (*(grad * g if need else None for g, need in zip(grads, ctx.needs_input_grad)), None)


def _forward(
    anchors: Tensor, candidates: Tensor, scale: float, bias: float, grid: Grid, learns: bool
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
    """The sum; gradients of anchors and candidates (both still without the factor ``scale``) and of the bias."""
    scaled = anchors * (scale * LOG2E)
    shift = anchors.new_full((), bias * LOG2E)
    if grid.single:
        logits = torch.addmm(shift, scaled, candidates.t())
        grid.leave_out(logits, slice(0, grid.n), slice(0, grid.m))
        total, sigmoid = softplus_tile(logits, torch.empty_like(logits), learns)
        if not learns:
            return total, None
        return total, (torch.mm(sigmoid, candidates), torch.mm(sigmoid.t(), anchors), sigmoid.sum())
    total = anchors.new_zeros(())
    grad_a, grad_c, grad_bias = torch.zeros_like(anchors), torch.zeros_like(candidates), anchors.new_zeros(())
    scratch, other = Scratch(grid, anchors), Scratch(grid, anchors)
    for rows, cols in grid:
        logits = torch.addmm(shift, scaled[rows], candidates[cols].t(), out=scratch.tile(rows, cols))
        grid.leave_out(logits, rows, cols)
        part, sigmoid = softplus_tile(logits, other.tile(rows, cols), learns)
        total += part
        if learns:
            grad_bias += sigmoid.sum()
            grad_a[rows].addmm_(sigmoid, candidates[cols])
            grad_c[cols].addmm_(sigmoid.t(), anchors[rows])
    return total, (grad_a, grad_c, grad_bias) if learns else None


def softplus_tile(logits: Tensor, out: Tensor, learns: bool) -> tuple[Tensor, Tensor]:
    """Sum of softplus over a tile of base-2 logits, and the sigmoids (in ``out``); overwrites ``logits``."""
    top = float(logits.amax()) / LOG2E
    if not top < _SAFE:
        logits.div_(LOG2E)
        sigmoid = torch.sigmoid(logits, out=out)
        return F.softplus(logits, threshold=_SAFE).sum(), sigmoid
    power = logits.exp2_()
    if learns:
        torch.add(power, 1.0, out=out)
        torch.div(power, out, out=out)
    return _sum_log1p(power, top), out


def _sum_log1p(power: Tensor, top: float) -> Tensor:
    """Sum of ``log(1 + e)`` over all elements, with as few logarithms as the range allows; overwrites ``power``.

    ``log(1 + a) + log(1 + b) = log(1 + (a + b + ab))``: halving the array this way keeps every digit of small terms.
    """
    flat = power.view(-1)
    height = max(top, 0.0) + 0.7  # an upper bound on log(1 + e)
    while height < _SAFE / 2 and flat.numel() > _FEW:
        half = flat.numel() // 2
        low, high, rest = flat[:half], flat[half : 2 * half], flat[2 * half :]
        flat = low.addcmul_(low, high).add_(high)
        if rest.numel():
            flat = torch.cat([flat, rest])
        height *= 2
    return torch.log1p(flat).sum()
