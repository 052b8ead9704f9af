"""Where the time of a training step goes, told by clocks around the pieces while an epoch runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from lightning import Callback
from torch import Tensor

from counterpoint_graphrec.csr import CSR
from counterpoint_graphrec.graph import BipartiteGraph
from counterpoint_graphrec.methods import xsimgcl
from recommenders.case import Clock, Split
from recommenders.ours import Ours


class Stopwatch(Callback):
    """Processor seconds of each piece without those of the pieces inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[str] = []
        self._since = time.process_time()

    def enter(self, piece: str) -> None:
        self._account()
        self._inside.append(piece)

    def leave(self) -> None:
        self._account()
        self._inside.pop()

    def _account(self) -> None:
        now = time.process_time()
        if self._inside:
            self.seconds[self._inside[-1]] = self.seconds.get(self._inside[-1], 0.0) + now - self._since
        self._since = now

    def around(self, owner: Any, name: str, piece: str) -> None:
        """Replace a function by itself between `enter` and `leave`."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            self.enter(piece)
            try:
                return function(*arguments, **options)
            finally:
                self.leave()

        setattr(owner, name, timed)

    def on_train_epoch_start(self, *_: Any) -> None:
        self.enter("batches and views")

    def on_train_batch_start(self, *_: Any) -> None:
        self.leave()
        self.enter("trainer")

    def on_before_backward(self, *_: Any) -> None:
        self.enter("losses and the rest, backward")

    def on_after_backward(self, *_: Any) -> None:
        self.leave()

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.enter("optimiser")

    def on_train_batch_end(self, *_: Any) -> None:
        self.leave()
        self.leave()
        self.enter("batches and views")

    def on_train_epoch_end(self, *_: Any) -> None:
        self.leave()


class Pieces(Ours):
    """XSimGCL under clocks."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        super().__init__(model, split, seed)
        self._watch = Stopwatch()
        method = self.built.method
        for owner, name, piece in (
            (CSR, "__matmul__", "propagation"),
            (CSR, "take", "propagation"),
            (CSR, "transpose", "propagation"),
            (xsimgcl, "signed_noise", "noise"),
            (method, "_ask", "sampling"),
            (method, "step", "losses and the rest, forward"),
        ):
            self._watch.around(owner, name, piece)

    def pieces(self, steps: int) -> dict[str, float]:
        """Milliseconds of each piece in a step, mean over ``steps`` of them."""
        self._watch.seconds = {}
        self.built.fit(1, min(steps, self._steps), Clock(), self._watch)
        return {piece: 1000 * s / min(steps, self._steps) for piece, s in self._watch.seconds.items()}

    def bandwidth(self) -> dict[str, float]:
        """See `bandwidth`."""
        return bandwidth(self.built.encoder.graph, self.built.encoder.table.detach())


def bandwidth(graph: BipartiteGraph, table: Tensor, repeats: int = 20) -> dict[str, float]:
    """GB a second that one product reads and writes, beside what the machine reads of arrays from their first to last.

    A product reads a row of the table, a column and a weight for each of ``2E`` entries, and writes each row once. A
    table that fits the processor's cache is read from there, however often.
    """
    moved = 2 * graph.n_edges * (table.stride(0) * 4 + 8) + table.numel() * 4
    graph.propagate(table)  # makes what is kept
    same, large = torch.ones_like(table), torch.ones(2**28 // 4)
    return {
        "product": moved / least(lambda: graph.propagate(table), repeats) / 1e9,
        "an array of the table's size": table.numel() * 4 / least(same.sum, repeats) / 1e9,
        "an array of 256 MiB": 2**28 / least(large.sum, repeats) / 1e9,
    }


def least(call: Callable[[], object], repeats: int) -> float:
    """Least processor seconds of a call, of one thread."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        call()
        best = min(best, time.process_time() - began)
    return best


CASE = Pieces
