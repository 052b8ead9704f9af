"""Cutting a similarity matrix into tiles, and knowing in each tile which pairs are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

WHOLE = 1 << 22  # up to this many pairs the matrix is one tile (16 MiB), kept for the backward pass
SMALL = (
    1 << 20
)  # up to this many pairs a whole step is one function (see `_small`), with a few more matrices of that size
CPU_TILE = 512  # 512 x 512 float32 = 1 MiB: the tile stays in a core's second-level cache
CPU_BLOCK = 1 << 21  # pairs of a block of whole rows: fewer rows would read the candidates too often
DEVICE_TILE = 4096  # elsewhere a launch costs more than the memory of a larger tile
LISTED = 1 << 16  # from here on a sorted list of the left-out pairs beats comparing keys
INF = float("inf")


@dataclass(frozen=True, slots=True)
class Cycle:
    """Keys that need no memory and no search: row ``i`` has the key ``start + i % period``."""

    start: int
    period: int

    def within(self, other: Cycle) -> bool:
        """Whether the other has all of these keys."""
        return other.start <= self.start and self.start + self.period <= other.start + other.period

    def tensor(self, n: int, device: torch.device) -> Tensor:
        """The first ``n`` keys, int64."""
        return torch.arange(n, device=device) % self.period + self.start


Key = Tensor | Cycle
Keys = tuple[Key, Key]


def number(value: float | Tensor) -> float:
    """The value of a number or scalar tensor, whether or not it takes a gradient."""
    return float(value.detach()) if isinstance(value, Tensor) else value


def tile_shape(n: int, m: int, tile: int | None, device: torch.device, whole_rows: bool = False) -> tuple[int, int]:
    """Rows and columns of a tile: the caller's ``tile``, or what suits the size and the device.

    ``whole_rows``: those of a row of tiles are put together (`WHOLE` pairs at most, but for one row); elsewhere than on
    a CPU one tile is whole rows.
    """
    if whole_rows and (tile is not None or device.type != "cpu"):
        return min(tile or row_block(m, device), max(n, 1)), max(m, 1)
    if tile is None:
        if n * m <= WHOLE:
            return max(n, 1), max(m, 1)
        if whole_rows:
            height = min(max(1, WHOLE // m), n)
            return height, min(max(CPU_TILE, CPU_TILE * CPU_TILE // height), m)
        tile = CPU_TILE if device.type == "cpu" else DEVICE_TILE
    return min(tile, max(n, 1)), min(tile, max(m, 1))


def row_block(m: int, device: torch.device) -> int:
    """Rows of a block that has all ``m`` columns, for what must see a whole row at once."""
    return max(1, (CPU_BLOCK if device.type == "cpu" else DEVICE_TILE * DEVICE_TILE) // max(m, 1))


def blocks(n: int, size: int) -> list[slice]:
    """``0..n`` in slices of ``size``; the last may be shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


@dataclass(slots=True)
class _Listed:
    """Left-out pairs as flat positions within their tile, sorted by tile."""

    flat: Tensor
    offsets: list[int]


@dataclass(slots=True)
class Grid:
    """The tiles of an ``n x m`` matrix and the pairs that are left out of it.

    Attributes:
        n: anchors.
        m: candidates.
        shape: rows and columns of a tile; the last ones may be smaller.
        triangle: visit only tiles on and above the diagonal.
        differ: keys that must differ for a pair to count.
        agree: keys that must be equal for a pair to count.
        device: where the matrix lives.
    """

    n: int
    m: int
    shape: tuple[int, int]
    triangle: bool
    differ: list[Keys]
    agree: list[Keys]
    device: torch.device
    single: bool = field(init=False)
    _compared: list[tuple[Tensor, Tensor, bool]] = field(default_factory=list)
    _lists: list[_Listed] = field(default_factory=list)
    _diagonals: list[tuple[Cycle, Cycle]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.single = self.shape[0] >= self.n and self.shape[1] >= self.m
        for keys in self.differ:
            self._arrange(*keys)
        for anchor, candidate in self.agree:
            self._compared.append((*self._tensors(anchor, candidate), False))

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        columns = blocks(self.m, self.shape[1])
        for number, rows in enumerate(blocks(self.n, self.shape[0])):
            for cols in columns[number:] if self.triangle else columns:
                yield rows, cols

    def leave_out(self, logits: Tensor, rows: slice, cols: slice) -> None:
        """Set the left-out pairs of a contiguous tile to -inf, in place."""
        for anchors, candidates in self._diagonals:
            cycles = logits.view(-1, anchors.period, self.m // candidates.period, candidates.period)
            cycles.diagonal(anchors.start - candidates.start, 1, 3).fill_(-INF)
        for anchor, candidate, left_out in self._compared:
            compare = torch.eq if left_out else torch.ne
            logits.masked_fill_(compare(anchor[rows, None], candidate[cols]), -INF)
        if self._lists:
            number = rows.start // self.shape[0] * -(-self.m // self.shape[1]) + cols.start // self.shape[1]
            for listed in self._lists:
                first, last = listed.offsets[number], listed.offsets[number + 1]
                if last > first:
                    logits.view(-1).index_fill_(0, listed.flat[first:last], -INF)

    def _tensors(self, anchor: Key, candidate: Key) -> tuple[Tensor, Tensor]:
        if isinstance(anchor, Cycle):
            anchor = anchor.tensor(self.n, self.device)
        if isinstance(candidate, Cycle):
            candidate = candidate.tensor(self.m, self.device)
        return anchor, candidate

    def _arrange(self, anchor: Key, candidate: Key) -> None:
        """Choose the cheapest way to leave out the pairs of equal keys: diagonals, a list of the few, or comparison."""
        if self.single and isinstance(anchor, Cycle) and isinstance(candidate, Cycle):
            self._diagonals.append((anchor, candidate))
            return
        anchor, candidate = self._tensors(anchor, candidate)
        pairs = None
        if self.n * self.m > LISTED:
            pairs = equal_pairs(anchor, candidate, limit=8 * (self.n + self.m))
        if pairs is None:
            self._compared.append((anchor, candidate, True))
        else:
            self._lists.append(self._by_tile(*pairs))

    def _by_tile(self, i: Tensor, j: Tensor) -> _Listed:
        height, width = self.shape
        across = -(-self.m // width)
        down = -(-self.n // height)
        tile = i // height * across + j // width
        tile, order = tile.sort(stable=True)
        i, j = i[order], j[order]
        columns = (self.m - j // width * width).clamp(max=width)
        counts = torch.bincount(tile, minlength=across * down)
        return _Listed(i % height * columns + j % width, [0, *counts.cumsum(0).tolist()])


def equal_pairs(a: Tensor, c: Tensor, limit: int) -> tuple[Tensor, Tensor] | None:
    """All ``(i, j)`` with ``a[i] == c[j]``, or None when there are more than ``limit``."""
    ordered, order = c.sort()
    first = torch.searchsorted(ordered, a)
    count = torch.searchsorted(ordered, a, right=True) - first
    total = int(count.sum())
    if total > limit:
        return None
    i = torch.repeat_interleave(count)
    within = torch.arange(total, device=a.device) - (count.cumsum(0) - count)[i]
    return i, order[first[i] + within]


class Scratch:
    """One tile's memory, used again for every tile."""

    def __init__(self, grid: Grid, like: Tensor) -> None:
        self._memory = like.new_empty(grid.shape[0] * grid.shape[1])

    def tile(self, rows: slice, cols: slice) -> Tensor:
        """A contiguous matrix of this tile's size; its content is whatever was there before."""
        height, width = rows.stop - rows.start, cols.stop - cols.start
        return self._memory[: height * width].view(height, width)


PairWeight = Callable[[Tensor, Tensor], Tensor]
Watch = Callable[[Tensor, slice], None]


def add_log_weight(logits: Tensor, weight: Tensor | PairWeight, rows: slice, cols: slice, unit: float) -> None:
    """Add the log weights of this tile's pairs, times ``unit`` (the logits' base), in place."""
    if isinstance(weight, Tensor):
        logits.add_(weight[cols], alpha=unit)
        return
    i = torch.arange(rows.start, rows.stop, device=logits.device)
    j = torch.arange(cols.start, cols.stop, device=logits.device)
    logits.add_(weight(i, j).to(logits.dtype), alpha=unit)
