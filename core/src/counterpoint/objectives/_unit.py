"""Rows of length one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.objectives._inputs import full_precision

_SHORTEST = 1e-12


def unit_forward(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows, and 1 / length (0 where a row is too short to have a direction)."""
    inverse = inverse_length(torch.linalg.vector_norm(rows, dim=-1, keepdim=True))
    return rows * inverse, inverse


def inverse_length(length: Tensor) -> Tensor:
    """1 / length, 0 for what is too short to have a direction; a NaN stays one."""
    return torch.threshold(length, _SHORTEST, math.inf).reciprocal_()


def unit_backward(unit: Tensor, inverse: Tensor, grad: Tensor) -> Tensor:
    """Gradient of the rows: the part of ``grad`` across each row, over its length."""
    along: Tensor = torch.linalg.vecdot(grad, unit).unsqueeze(-1)
    across: Tensor = torch.addcmul(grad, unit, along, value=-1)
    return across.mul_(inverse)


class _Unit(torch.autograd.Function):
    """``x / |x|`` by row. A zero row has no direction: it stays zero and gets no gradient (elsewhere: a huge one)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        unit, inverse = unit_forward(rows)
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        unit, inverse = ctx.saved_tensors
        return unit_backward(unit, inverse, grad)


def unit_rows(rows: Tensor) -> Tensor:
    """``(..., D)`` of any floating type -> rows of length 1 in float32 (float64 stays float64)."""
    unit: Tensor = _Unit.apply(full_precision(rows))
    return unit
