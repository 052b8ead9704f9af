"""The largest of each row, exactly, several times faster than ``torch.topk`` on a CPU.

Columns are dealt into groups, of which only the ``k`` with the largest maxima are looked at: what is elsewhere is no
larger than these maxima. Groups, and then values, are chosen by NumPy's partition, which uses AVX2 and AVX-512; torch's
uses neither.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from counterpoint.objectives._tiles import blocks

PART = 1 << 20
"""Scores that are looked at together: 4 MiB and what is made of them stay in a core's caches."""


def largest(scores: Tensor, count: int, *, ordered: bool = True) -> tuple[Tensor, Tensor]:
    """``torch.topk(scores, count, dim=1)``: the right values, any choice among equal ones.

    Args:
        scores: ``(N, M)``; NaN counts as the largest.
        count: from 1 to M.
        ordered: largest first; else in any order, which is a little cheaper.

    Returns:
        Values and int64 positions, ``(N, count)`` each.
    """
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        values, places = scores.topk(count, dim=1, sorted=ordered)
        return values, places
    values = scores.new_empty(len(scores), count)
    places = torch.empty(len(scores), count, dtype=torch.int64)
    for rows in blocks(len(scores), max(1, PART // scores.shape[1])):
        values[rows], places[rows] = _of_part(scores[rows].detach(), count)
    if ordered:
        values, order = values.sort(dim=1, descending=True)
        places = places.gather(1, order)
    return values, places


def _of_part(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    width = scores.shape[1]
    size = _group(width, count)
    if size < 2:
        places = _chosen(scores, count)
        return scores.gather(1, places), places
    groups = width // size
    dealt = groups * size
    maxima = scores[:, :dealt].reshape(-1, size, groups).amax(dim=1)  # strided groups: this runs along the columns
    columns = (_chosen(maxima, count)[:, :, None] + torch.arange(0, dealt, groups)).flatten(1)
    if dealt < width:
        columns = torch.cat([columns, torch.arange(dealt, width).expand(len(scores), -1)], dim=1)
    values = scores.gather(1, columns)
    order = _chosen(values, count)
    return values.gather(1, order), columns.gather(1, order)


def _group(width: int, count: int) -> int:
    """Columns of a group: as many maxima as values of the groups that are chosen, in powers of two."""
    return 1 << int(math.log2(max(1.0, width / count)) / 2)


def _chosen(scores: Tensor, count: int) -> Tensor:
    """Positions ``(n, count)`` of each row's largest, in any order; NaN is the largest."""
    first = scores.shape[1] - count
    return torch.from_numpy(np.argpartition(scores.numpy(), first, axis=1)[:, first:])
