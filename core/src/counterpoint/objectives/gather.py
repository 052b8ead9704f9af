"""Bring other ranks' rows, with gradients: the one place where objectives meet ``torch.distributed``."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.errors import ShapeError, message


def world_size() -> int:
    """Number of processes; 1 where ``torch.distributed`` is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 where ``torch.distributed`` is not in use."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    """all_gather whose backward *sums* the ranks' gradients (peers that do not sum are wrong by 1/world size)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = rows.shape[0]
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        start = rank() * ctx.rows
        return total[start : start + ctx.rows]


def gather(rows: Tensor) -> Tensor:
    """Rows of all ranks, in rank order: ``(B, ...)`` -> ``(world_size * B, ...)``; the identity on one process.

    Gradients flow back to the rank that a row came from, summed over the ranks that used it.

    Raises:
        ShapeError: the ranks hold different numbers of rows.
    """
    if world_size() == 1:
        return rows
    counts = torch.tensor([rows.shape[0], -rows.shape[0]], device=rows.device)
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    if int(counts[0]) != -int(counts[1]):
        found = f"between {-int(counts[1])} and {int(counts[0])}"
        raise ShapeError(message("batch size per rank", found, "equal on all ranks", "Drop the uneven last batch."))
    if rows.requires_grad:
        gathered: Tensor = _Gather.apply(rows)
        return gathered
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
