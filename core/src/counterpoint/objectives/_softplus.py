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


class SoftplusSum(torch.autograd.Function):
    """Sum over the counted pairs of ``log(1 + exp(scale * a . c + bias))``: a scalar."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, scale: float | Tensor, bias: float | Tensor, grid: Grid
    ) -> Tensor:
        learns = any(ctx.needs_input_grad)
        with torch.autocast(anchors.device.type, enabled=False):
            total, grads = _forward(anchors, candidates, number(scale), number(bias), grid, learns)
        if grads is not None:
            grad_a, grad_c, grad_bias = grads
            grad_scale = (anchors * grad_a).sum()
            ctx.save_for_backward(grad_a.mul_(number(scale)), grad_c.mul_(number(scale)), grad_scale, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = ctx.saved_tensors
        return (*(grad * g if need else None for g, need in zip(grads, ctx.needs_input_grad)), None)


def _forward(
    anchors: Tensor, candidates: Tensor, scale: float, bias: float, grid: Grid, learns: bool
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
    total = anchors.new_zeros(())
    grad_a, grad_c, grad_bias = torch.zeros_like(anchors), torch.zeros_like(candidates), anchors.new_zeros(())
    scaled = anchors * scale
    scratch, other = Scratch(grid, anchors), Scratch(grid, anchors)
    for rows, cols in grid:
        logits = torch.mm(scaled[rows], candidates[cols].t(), out=scratch.tile(rows, cols)).add_(bias)
        grid.leave_out(logits, rows, cols)
        part, sigmoid = _softplus(logits, other.tile(rows, cols), learns)
        total += part
        if learns:
            grad_bias += sigmoid.sum()
            grad_a[rows].addmm_(sigmoid, candidates[cols])
            grad_c[cols].addmm_(sigmoid.t(), anchors[rows])
    return total, (grad_a, grad_c, grad_bias) if learns else None


def _softplus(logits: Tensor, out: Tensor, learns: bool) -> tuple[Tensor, Tensor]:
    """Sum of softplus over the tile, and the sigmoids (in ``out``); overwrites ``logits``."""
    top = float(logits.amax())
    if not top < _SAFE:
        sigmoid = torch.sigmoid(logits, out=out)
        return F.softplus(logits, threshold=_SAFE).sum(), sigmoid
    power = logits.mul_(LOG2E).exp2_()
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
    while height < _SAFE / 2 and flat.numel() > 64:
        half = flat.numel() // 2
        low, high, rest = flat[:half], flat[half : 2 * half], flat[2 * half :]
        product = low * high
        flat = low.add_(high).add_(product)
        if rest.numel():
            flat = torch.cat([flat, rest])
        height *= 2
    return torch.log1p(flat).sum()
