"""Sums over all ranks' rows, with gradients: batch statistics without gathering a single row.

Every rank computes the same statistic from the same sums, and the backward of a sum over ranks is the sum over ranks
of the gradients. So the mean over ranks of the parameters' gradients (what DDP forms) is the gradient of one big batch.
On one process everything here is the plain local sum.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.objectives.gather import world_size


class _SumOverRanks(torch.autograd.Function):
    """all_reduce whose backward is an all_reduce (so it can be differentiated twice, too)."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _SumOverRanks.apply(grad)


def sum_over_ranks(local: Tensor) -> Tensor:
    """Elementwise sum of ``local`` over the ranks, any shape; gradients are summed over the ranks in turn."""
    if world_size() == 1:
        return local
    total: Tensor = _SumOverRanks.apply(local)
    return total


def rows_over_ranks(rows: Tensor) -> int:
    """Number of rows over all ranks, ``world_size * B``.

    Raises:
        ShapeError: the ranks hold different numbers of rows, so that the mean over ranks would weigh samples unequally.
    """
    count = rows.shape[0]
    if world_size() == 1:
        return count
    extremes = torch.tensor([count, -count], device=rows.device)
    dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
    most, least = int(extremes[0]), -int(extremes[1])
    if most != least:
        todo = "Drop the uneven last batch."
        raise ShapeError(message("batch size per rank", f"between {least} and {most}", "equal on all ranks", todo))
    return count * world_size()


@torch.no_grad()
def logsumexp_over_ranks(rows: Tensor) -> Tensor:
    """Column-wise log-sum-exp over the rows of all ranks, ``(B, K)`` -> ``(1, K)``; never overflows; no gradient."""
    local = rows.logsumexp(dim=0, keepdim=True)
    if world_size() == 1:
        return local
    largest = local.clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return sum_over_ranks((local - largest).exp()).log() + largest


def centre_over_ranks(views: Tensor) -> tuple[Tensor, int]:
    """Subtract each dimension's mean over all ranks' samples.

    Args:
        views: ``(V, B, D)``, this rank's samples.

    Returns:
        ``(V, B, D)`` centred rows, and the number of samples over all ranks.

    Raises:
        ShapeError: fewer than two samples over all ranks, or ranks with different numbers of samples.
    """
    count = rows_over_ranks(views[0])
    if count < 2:
        todo = "Batch statistics of one sample are undefined: raise the batch size or drop the last batch."
        raise ShapeError(message("batch size", f"{count} over all ranks", "2 or more", todo))
    return views - sum_over_ranks(views.sum(dim=1, keepdim=True)) / count, count


def off_diagonal(square: Tensor) -> Tensor:
    """Entries of a ``(D, D)`` matrix beside its diagonal, as a ``(D - 1, D)`` view (no copy, in no useful order)."""
    # After entry (0, 0) is dropped, every (D + 1)-th entry is the next one of the diagonal.
    size = square.shape[0]
    return square.flatten()[1:].view(size - 1, size + 1)[:, :-1]
