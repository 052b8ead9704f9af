"""A first-in, first-out memory of embeddings: MoCo's negatives, SwAV's extra samples for the codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives.gather import gather


class Queue(nn.Module):
    """Ring buffer of ``size`` rows and their content ids; state is in buffers, so it is saved and resumed exactly.

    Only rows that were written are given out. With several processes every rank enqueues the rows of all ranks, so that
    the queues are equal everywhere.

    Args:
        size: rows kept (MoCo: 65,536).
        dim: width of a row.

    Attributes:
        rows: buffer ``(size, dim)``.
        row_ids: buffer ``(size,)`` int64, content ids.
        written: buffer, int64, rows written so far; the next one goes to place ``written % size``.

    Raises:
        ConfigError: a size below 1.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(message("Queue.size", size, "a whole number from 1"))
        self.size = size
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("row_ids", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.rows: Tensor
        self.row_ids: Tensor
        self.written: Tensor

    def __len__(self) -> int:
        return min(self.size, int(self.written))

    @property
    def full(self) -> bool:
        """Whether every row was written."""
        return int(self.written) >= self.size

    def get(self) -> tuple[Tensor, Tensor]:
        """Copies of the rows ``(M, dim)`` and their ids ``(M,)``; M grows from 0 to ``size``."""
        return self.rows[: len(self)].clone(), self.row_ids[: len(self)].clone()

    @torch.no_grad()
    def put(self, rows: Tensor, ids: Tensor | None = None) -> None:
        """Write the rows of all ranks over the oldest ones; of more than ``size``, the last.

        Args:
            rows: ``(B, dim)``; taken without gradient.
            ids: ``(B,)`` int64 content ids; None: -1, which no content has.

        Raises:
            ShapeError: rows of another width, or ids that are not one to a row.
        """
        if rows.ndim != 2 or rows.shape[1] != self.rows.shape[1]:
            raise ShapeError(message("rows", tuple(rows.shape), f"(B, {self.rows.shape[1]})"))
        ids = torch.full(rows.shape[:1], -1, device=rows.device) if ids is None else ids
        if ids.shape != rows.shape[:1]:
            raise ShapeError(message("ids", tuple(ids.shape), f"({rows.shape[0]},)", "Give one id per row."))
        rows, ids = gather(rows.detach()), gather(ids)
        count = rows.shape[0]
        if not count:
            return
        kept = min(count, self.size)
        places = (int(self.written) + count - kept + torch.arange(kept, device=rows.device)) % self.size
        self.rows[places] = rows[-kept:].to(self.rows.dtype)
        self.row_ids[places] = ids[-kept:]
        self.written += count
