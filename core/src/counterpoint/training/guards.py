"""What watches every step: its random draws follow from (seed, step, rank), and a non-finite loss stops the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from counterpoint.errors import Interrupted, TrainingError
from counterpoint.files import write_text
from counterpoint.objectives.gather import gather
from counterpoint.parts import Dataset
from counterpoint.training.data import mix
from counterpoint.types import Batch

SHOWN = 8


class StepGuard(Callback):
    """Seed each step and refuse a non-finite loss before it reaches the weights.

    Args:
        run: run directory, where ``non-finite.json`` names the batch.
        dataset: for the samples' names.
        seed: the run's seed.
    """

    def __init__(self, run: Path, dataset: Dataset, seed: int) -> None:
        self.run, self.dataset, self.seed = run, dataset, seed
        self._batch: Batch | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All ranks take rank zero's micro-batch: collectives inside the encoder need equal numbers of chunks."""
        pl_module.micro_batch = trainer.strategy.broadcast(pl_module.micro_batch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Dropout and the like draw from a generator that (seed, step, rank) decide: resume needs no saved state."""
        torch.manual_seed(mix(self.seed, "step", trainer.global_step, trainer.global_rank))
        self._batch = batch[0]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Stop, on all ranks, at a loss that is no number on any; the weights are those of the step before.

        Raises:
            TrainingError: with the step, the batch's indices and names, and what to try.
            Interrupted: on the other ranks than the first, which tells.
        """
        bad = (~torch.isfinite(loss.detach())).float()
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce(bad, reduce_op="sum")
        if not bool(bad) or self._batch is None:
            return
        indices = gather(self._batch.index).tolist()
        if not trainer.is_global_zero:
            raise Interrupted("The loss is not finite; the first process tells more.")
        raise self._told(trainer.global_step, float(loss), indices)

    def _told(self, step: int, loss: float, indices: list[int]) -> TrainingError:
        """Write the batch to ``non-finite.json`` and say it."""
        names = [self.dataset.name(i) for i in indices]
        found = {"step": step, "loss": repr(loss), "indices": indices, "names": names}
        path = self.run / "non-finite.json"
        write_text(path, json.dumps(found, indent=2) + "\n")
        shown = ", ".join(f"{i} ({n})" for i, n in list(zip(indices, names))[:SHOWN])
        return TrainingError(
            f"The loss is {loss} at step {step}. The batch: {shown}"
            f"{', …' if len(indices) > SHOWN else ''} (all {len(indices)} in {path}). Look at these samples; "
            "if they are sound, lower optimization.lr or raise the temperature. The last checkpoint is untouched."
        )
