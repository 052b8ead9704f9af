"""Compressed sparse rows of ones or of weights, and their product with a dense matrix.

The product is a sum of rows of the dense matrix, so it goes to torch's ``embedding_bag``: on a CPU that is 3 times as
fast as ``torch.sparse`` in CSR form and 10 times as fast as in COO form, and it needs no values where all are one.
Transposes are precomputed or made by scipy's counting sort; torch's own gradients of these are 20 times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CSR"]

NARROW = torch.iinfo(torch.int32).max
"""As many entries fit int32."""


@dataclass(frozen=True)
class CSR:
    """A sparse matrix of ``len(starts) - 1`` rows and ``width`` columns.

    ``columns`` ``(nnz,)`` holds the column of each entry, row after row; the entries of row r begin at ``starts[r]``;
    ``values`` ``(nnz,)`` are theirs, None: all 1. Indices are int32 as long as they fit.
    """

    columns: Tensor
    starts: Tensor
    width: int
    values: Tensor | None = None

    @classmethod
    def of(cls, columns: Tensor, counts: Tensor, width: int) -> CSR:
        """Ones in ``columns``, of which ``counts`` ``(rows,)`` belong to each row."""
        index = torch.int32 if columns.numel() <= NARROW else torch.int64
        return cls(columns.to(index), F.pad(counts.cumsum(0), (1, 0)).to(index), width)

    def __matmul__(self, x: Tensor) -> Tensor:
        """``(rows, D)`` for ``x`` ``(width, D)``; without gradient."""
        return F.embedding_bag(
            self.columns,
            x.contiguous(),  # else 10 times as slow
            self.starts,
            mode="sum",
            include_last_offset=True,
            per_sample_weights=self.values,
        )

    def take(self, rows: Tensor) -> CSR:
        """The rows of these numbers, in their order; work goes with their entries only."""
        first = self.starts.index_select(0, rows)
        counts = self.starts[1:].index_select(0, rows) - first
        ends = counts.cumsum(0)
        total = int(ends[-1]) if len(ends) else 0
        shift = torch.repeat_interleave(first - (ends - counts).to(first), counts, output_size=total)
        places = shift.add_(torch.arange(total, dtype=shift.dtype, device=shift.device))
        values = None if self.values is None else self.values.index_select(0, places)
        return replace(CSR.of(self.columns.index_select(0, places), counts, self.width), values=values)

    def transpose(self) -> CSR:
        """Rows for columns, entries in the order of their row; values go along."""
        shape = (len(self.starts) - 1, self.width)
        values = torch.ones_like(self.columns, dtype=torch.int8) if self.values is None else self.values
        parts = tuple(part.cpu().numpy() for part in (values, self.columns, self.starts))
        other = scipy.sparse.csr_array(parts, shape=shape).tocsc()
        columns, starts = (torch.from_numpy(part).to(self.columns) for part in (other.indices, other.indptr))
        moved = None if self.values is None else torch.from_numpy(other.data).to(self.values)
        return CSR(columns, starts, shape[0], moved)

    def map(self, fn: Callable[[Tensor], Tensor]) -> CSR:
        """``fn`` on each tensor, such as a move to a device."""
        return CSR(fn(self.columns), fn(self.starts), self.width, None if self.values is None else fn(self.values))
