"""Forward and backward of the tiled log-sum-exp.

Only the embeddings and one number per row outlive the forward pass; the backward pass computes each tile again and
writes its gradient in closed form: with ``G[i, j]`` the weight that the loss gives to the logit
``l[i, j] = scale * a[i] . c[j]``, ``grad a = scale * G c`` and ``grad c = scale * G^T a``.

Exponentials are powers of two (``2^(l log2 e)``), which cost a third of ``exp`` on a CPU. Where the logits are known to
be small (`FAST`) sums of plain powers neither overflow nor lose digits, so that one exponential serves rows and
columns; else each row (column) is shifted by its maximum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.objectives._tiles import INF, Grid, PairWeight, Scratch, Watch, add_log_weight, number

LOG2E = math.log2(math.e)
FAST = {torch.float32: 40.0, torch.float64: 300.0}  # e^±40 and sums of 10^20 such terms are normal float32 numbers


@dataclass(slots=True)
class Job:
    """What to compute, apart from the tensors that take a gradient.

    Attributes:
        grid: tiles and left-out pairs; ``grid.triangle`` says that the candidates are the anchors.
        both: also the log-sum-exp of each column.
        fast: the logits are small, see the module's docstring.
        weight: log weights of the pairs, or None.
        watch: sees each block of whole rows on the way forward, or None.
    """

    grid: Grid
    both: bool
    fast: bool
    weight: Tensor | PairWeight | None
    watch: Watch | None = None


class LogSumExp(torch.autograd.Function):
    """``(N, D)`` anchors, ``(M, D)`` candidates, scale -> ``(N,)`` [and ``(M,)``] log-sum-exps of the counted pairs."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, candidates: Tensor, scale: float | Tensor, job: Job
    ) -> Tensor | tuple[Tensor, Tensor]:
        factor = number(scale)
        forward = _forward_whole if job.fast and job.grid.single else _forward
        rows, cols, kept, attended = forward(anchors, candidates, factor, job, ctx.needs_input_grad)
        ctx.job, ctx.scale = job, factor
        ctx.save_for_backward(anchors, candidates, rows, cols, kept, attended)
        if job.fast:
            rows, cols = rows.log(), None if cols is None else cols.log()
        return rows if cols is None else (rows, cols)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        anchors, candidates, rows, cols, kept, attended = ctx.saved_tensors
        job, scale = ctx.job, ctx.scale
        if attended is not None:
            grad_a, grad_c = attended * (grads[0] * scale)[:, None], None
        else:
            weigh = Weights(job, (rows, cols), [g * scale for g in grads])
            backward = _backward if kept is None else _backward_whole
            grad_a, grad_c = backward(anchors, candidates, scale, job, weigh, kept)
        grad_scale = None
        if ctx.needs_input_grad[2]:
            twice = 2.0 if job.grid.triangle else 1.0  # there grad_a holds both roles of each row
            grad_scale = (anchors * grad_a).sum() / (scale * twice)
        return grad_a, grad_c if ctx.needs_input_grad[1] else None, grad_scale, None


def _attends(needs: Sequence[bool], job: Job) -> bool:
    """Whether to gather the weighted candidates on the way: then the backward pass needs no second look at them.

    That pays where only the anchors take a gradient (a queue, a momentum encoder's keys).
    """
    only_anchors = (needs[0] or needs[2]) and not needs[1]
    return only_anchors and job.fast and not job.both and not job.grid.triangle and not job.grid.single


def tile_logits(
    out: Tensor, anchors: Tensor, candidates: Tensor, scale: float, job: Job, rows: slice, cols: slice
) -> Tensor:
    """This tile's logits in base 2, left-out pairs at -inf."""
    torch.addmm(out, anchors[rows], candidates[cols].t(), beta=0, alpha=scale * LOG2E, out=out)
    if job.weight is not None:
        add_log_weight(out, job.weight, rows, cols, LOG2E)
    job.grid.leave_out(out, rows, cols)
    return out


def _forward(
    anchors: Tensor, candidates: Tensor, scale: float, job: Job, needs: Sequence[bool]
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Sums of each row and column (fast: plain; else natural logarithms), the one tile to keep, attended candidates."""
    grid = job.grid
    start, add = (0.0, _add_powers) if job.fast else (-INF, _add_shifted)
    row = anchors.new_full((grid.n,), start)
    col = row if grid.triangle else anchors.new_full((grid.m,), start) if job.both else None
    attended = torch.zeros_like(anchors) if _attends(needs, job) else None
    scratch = Scratch(grid, anchors)
    watch = None if job.watch is None else _WholeRows(job.watch, grid, anchors)
    tile = None
    for rows, cols in grid:
        tile = tile_logits(scratch.tile(rows, cols), anchors, candidates, scale, job, rows, cols)
        if watch is not None:
            watch(tile, rows, cols)
        if job.fast:
            tile.exp2_()
        add(row[rows], tile, 1)
        if col is not None and not (grid.triangle and rows == cols):
            add(col[cols], tile, 0)
        if attended is not None:
            attended[rows].addmm_(tile, candidates[cols])
    kept = tile if grid.single and any(needs) else None
    if attended is not None:
        attended.div_(row.clamp_min(least(row))[:, None])
    if not job.fast:
        row.div_(LOG2E)
        if col is not None and not grid.triangle:
            col.div_(LOG2E)
    return row, None if grid.triangle else col, kept, attended


class _WholeRows:
    """Puts tiles together for who watches whole rows: products are fastest in tiles, with a copy of them as well."""

    def __init__(self, watch: Watch, grid: Grid, like: Tensor) -> None:
        self._watch, self._width = watch, grid.m
        self._block = None if grid.shape[1] >= grid.m else like.new_empty(grid.shape[0], grid.m)

    def __call__(self, tile: Tensor, rows: slice, cols: slice) -> None:
        if self._block is None:
            self._watch(tile, rows)
            return
        block = self._block[: len(tile)]
        block[:, cols] = tile
        if cols.stop == self._width:
            self._watch(block, rows)


def _forward_whole(
    anchors: Tensor, candidates: Tensor, scale: float, job: Job, needs: Sequence[bool]
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The tiled pass where one tile is all and the logits are small: the same with the fewest operations."""
    grid = job.grid
    tile = torch.mm(anchors * (scale * LOG2E), candidates.t())
    grid.leave_out(tile, slice(0, grid.n), slice(0, grid.m))
    if job.watch is not None:
        job.watch(tile, slice(0, grid.n))
    tile.exp2_()
    return tile.sum(1), tile.sum(0) if job.both else None, tile if any(needs) else None, None


def _add_powers(total: Tensor, tile: Tensor, dim: int) -> None:
    total.add_(tile.sum(dim))


def _add_shifted(total: Tensor, tile: Tensor, dim: int) -> None:
    """``total`` and ``tile`` hold base-2 logarithms; -inf stands for an empty sum."""
    shift = tile.amax(dim, keepdim=True).clamp_(min=torch.finfo(tile.dtype).min)
    part = torch.exp2(tile - shift).sum(dim).log2_().add_(shift.squeeze(dim))
    total.copy_(torch.logaddexp2(total, part))


def least(sums: Tensor) -> float:
    """Less than any sum that has a term, in fast mode."""
    return math.exp(-FAST[sums.dtype] - 1.0)


def _backward(
    anchors: Tensor, candidates: Tensor, scale: float, job: Job, weigh: Weights, kept: None
) -> tuple[Tensor, Tensor | None]:
    """Gradients of anchors and candidates, tile by tile, each tile computed again."""
    grid = job.grid
    grad_a = torch.zeros_like(anchors)
    grad_c = None if grid.triangle else torch.zeros_like(candidates)
    scratch, other = Scratch(grid, anchors), Scratch(grid, anchors)
    for rows, cols in grid:
        tile = tile_logits(scratch.tile(rows, cols), anchors, candidates, scale, job, rows, cols)
        if job.fast:
            tile.exp2_()
        weights = weigh(tile, other.tile(rows, cols), rows, cols)
        grad_a[rows].addmm_(weights, candidates[cols])
        if grad_c is not None:
            grad_c[cols].addmm_(weights.t(), anchors[rows])
        elif rows != cols:
            grad_a[cols].addmm_(weights.t(), anchors[rows])
    return grad_a, grad_c


def _backward_whole(
    anchors: Tensor, candidates: Tensor, scale: float, job: Job, weigh: Weights, kept: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The tiled pass from the one tile that was kept."""
    weights = weigh(kept, torch.empty_like(kept), slice(0, job.grid.n), slice(0, job.grid.m))
    return torch.mm(weights, candidates), None if job.grid.triangle else torch.mm(weights.t(), anchors)


class Weights:
    """Turns a tile of exponentials (fast) or base-2 logits into the gradient of the loss by ``a . c``."""

    def __init__(self, job: Job, sums: tuple[Tensor, Tensor | None], grads: Sequence[Tensor]) -> None:
        self.fast = job.fast
        self.row = self._factor(sums[0], grads[0])
        self.col = self.row if job.grid.triangle else None
        if sums[1] is not None:
            self.col = self._factor(sums[1], grads[1])

    def _factor(self, total: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Fast: gradient / sum (twice); else (gradient, base-2 logarithm of the sum). An empty sum gets no gradient."""
        if self.fast:
            factor = grad / total.clamp_min(least(total))
            return factor, factor
        empty = total == -INF
        return grad.masked_fill(empty, 0.0), (total * LOG2E).masked_fill_(empty, 0.0)

    def __call__(self, tile: Tensor, out: Tensor, rows: slice, cols: slice) -> Tensor:
        """The tile's weights, in ``out``; ``tile`` is left as it is."""
        if self.fast:
            if self.col is None:
                return torch.mul(tile, self.row[0][rows, None], out=out)
            return torch.add(self.row[0][rows, None], self.col[0][cols], out=out).mul_(tile)
        grad, shift = self.row
        torch.sub(tile, shift[rows, None], out=out).exp2_().mul_(grad[rows, None])
        if self.col is not None:
            grad, shift = self.col
            out.add_(torch.exp2(tile - shift[cols]).mul_(grad[cols]))
        return out
