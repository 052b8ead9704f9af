"""What watches every step: its random draws follow from (seed, step, rank); a loss that is no number stops the run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from counterpoint.errors import Interrupted, ShapeError, TrainingError
from counterpoint.files import write_text
from counterpoint.parts import Dataset
from counterpoint.training.data import mix
from counterpoint.types import Batch, View

FILE = "non-finite.json"
SHOWN = 8


def _seed(seed: int) -> None:
    """``torch.manual_seed``, but for devices only where some are in use.

    For kinds that are not that function writes down where it was called from, a millisecond at each step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)


class StepGuard(Callback):
    """Seed each step and refuse a non-finite loss before it reaches the weights.

    Args:
        run: run directory, where ``non-finite.json`` names the batch.
        dataset: for the samples' names.
        seed: the run's seed.
    """

    def __init__(self, run: Path, dataset: Dataset, seed: int) -> None:
        self.run, self.dataset, self.seed = run, dataset, seed
        self._step: tuple[int, int, Batch, list[View]] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All ranks take rank zero's micro-batch: collectives inside the encoder need equal numbers of chunks."""
        pl_module.micro_batch = trainer.strategy.broadcast(pl_module.micro_batch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Dropout and the like draw from a generator that (seed, step, rank) decide: resume needs no saved state."""
        _seed(mix(self.seed, "step", trainer.global_step, trainer.global_rank))
        self._step = (trainer.global_step, trainer.global_rank, *batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the batch go."""
        self._step = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Stop, on all ranks, at a loss that is no number on any; the weights are those of the step before.

        Raises:
            ShapeError: `explaining` makes it a `TrainingError`.
        """
        bad = (~torch.isfinite(loss.detach())).float()
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad, reduce_op="sum")
        if bool(bad):
            raise ShapeError(f"the loss is {float(loss.detach())}")

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Tell of a step that failed over its numbers which step and which samples those were.

        Raises:
            TrainingError: with the step, the batch's indices and names, and what to try.
            Interrupted: on other ranks than the first, which have printed theirs if there was anything of their own.
        """
        try:
            yield
        except ShapeError as error:
            if self._step is None:
                raise
            step, rank, batch, views = self._step
            if rank == 0:
                raise TrainingError(self._told(str(error), step, batch, views)) from None
            if "another rank" not in str(error) and _suspects(batch, views):
                print(f"Process {rank}: {self._told(str(error), step, batch, views)}", file=sys.stderr)
            raise Interrupted("Another process tells what happened.") from None

    def _told(self, reason: str, step: int, batch: Batch, views: list[View]) -> str:
        """Write the batch to a file and describe it."""
        indices, suspects = batch.index.tolist(), _suspects(batch, views)
        names = [self.dataset.name(i) for i in indices]
        found = {"step": step, "reason": reason, "indices": indices, "names": names, "not_finite": suspects}
        path = self.run / FILE
        write_text(path, json.dumps(found, indent=2) + "\n")
        chosen = suspects or indices
        shown = ", ".join(f"{i} ({self.dataset.name(i)})" for i in chosen[:SHOWN])
        which = "Samples with numbers that are not finite" if suspects else "All views are finite. The batch"
        return (
            f"Stopped in step {step}: {reason.rstrip('.')}. {which}: {shown}{', …' if len(chosen) > SHOWN else ''} "
            f"(all {len(indices)} of the batch are in {path}). Look at these samples; if they are sound, lower "
            "optimization.lr or raise the temperature. The last checkpoint is untouched."
        )


def _suspects(batch: Batch, views: list[View]) -> list[int]:
    """Indices of the samples with a view that holds NaN or infinity."""
    bad = torch.zeros(len(batch), dtype=torch.bool)
    for view in views:
        if isinstance(view.data, Tensor) and len(view.data) == len(batch):
            bad |= ~torch.isfinite(view.data).flatten(1).all(dim=1).cpu()
    found: list[int] = batch.index.cpu()[bad].tolist()
    return found
