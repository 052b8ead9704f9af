"""``checkpoints/last.ckpt``: written atomically, on a clock, at each epoch's end, and when somebody presses Ctrl-C."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from counterpoint.errors import Interrupted, RunError, TrainingError
from counterpoint.methods.registry import FINE_TUNING
from counterpoint.training._tables import STAGES
from counterpoint.training.config import read_yaml
from counterpoint.training.stops import StopRequest

LAST = "checkpoints/last.ckpt"
CONFIG = "config.yaml"
PLAIN = "plain"
"""Of a fine-tuning: the sub-directory of the run that it is compared with."""
SAVE, STOP = 1, 2


def checkpoint_step(path: Path) -> int:
    """Optimiser steps done when the checkpoint was written.

    Raises:
        RunError: it is torn, or holds anything but tensors and plain values (a pickle is never run).
    """
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception as error:  # what a broken file raises depends on where it is broken
        reason = str(error).strip().split("\n")[0]
        raise RunError(
            f"{path}: is no checkpoint that can be read ({type(error).__name__}: {reason[:200]}). "
            "Remove it, and --resume begins the run again."
        ) from None


def is_tuned(config: Mapping[str, Any]) -> bool:
    """Whether a run's configuration is that of a fine-tuning."""
    return str(config.get("recipe")).rpartition("/")[2] in FINE_TUNING


def resume_command(run: Path) -> str:
    """What goes on with ``run``, or with the run that it is a part of: one of its stages, or its comparison."""
    whole = run.parent.parent if run.parent.name == STAGES else run.parent if run.name == PLAIN else run
    whole = whole if (whole / CONFIG).is_file() else run
    verb = "finetune" if (whole / CONFIG).is_file() and is_tuned(read_yaml(whole / CONFIG)) else "pretrain"
    return f"counterpoint {verb} --resume {shlex.quote(str(whole))}"


class SaveLast(Callback):
    """Write the whole training state to ``last.ckpt``.

    Args:
        run: run directory.
        minutes: at least so often.
        steps: or every so many steps, if set.
        stop: who asked to stop, if anybody.
    """

    def __init__(self, run: Path, minutes: float, steps: int | None, stop: StopRequest) -> None:
        self.path = run / LAST
        self.minutes, self.steps, self.stop = minutes, steps, stop
        self._clock = time.monotonic()

    def save(self, trainer: Trainer) -> None:
        """Save now, on all ranks together; the old checkpoint stays until the new one is whole.

        Raises:
            TrainingError: the disk does not take it, or there is a weight that is no number.
        """
        self._clock = time.monotonic()
        self._refuse_non_finite(trainer)
        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise TrainingError(
                f"{self.path}: cannot be written ({error.strerror}). The checkpoint before it is untouched; "
                f"make room and go on with: {resume_command(self.path.parents[1])}"
            ) from error

    def _refuse_non_finite(self, trainer: Trainer) -> None:
        """A finite loss may have had a gradient that was none; a checkpoint of such weights would help nobody."""
        for name, weight in trainer.lightning_module.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise TrainingError(
                    f"{name} is not finite after step {trainer.global_step}, though the loss was: a gradient broke it. "
                    "Lower optimization.lr, or raise the temperature, and begin again or, if it came late, go on from "
                    f"the last checkpoint, which is untouched: {resume_command(self.path.parents[1])}"
                )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when the clock, the step count or a signal says so."""
        # The last batch of an epoch is saved by on_train_epoch_end, after the monitors have had their say.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.global_step == trainer.max_steps:
            return
        wish = self._wish(trainer)
        if wish:
            self.save(trainer)
        if wish == STOP:
            raise self._interrupted(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the finished epoch."""
        self.save(trainer)
        if self._wish(trainer) == STOP and not trainer.fit_loop.done:
            raise self._interrupted(trainer)

    def _interrupted(self, trainer: Trainer) -> Interrupted:
        command = resume_command(self.path.parents[1])
        return Interrupted(f"Stopped at step {trainer.global_step}; everything is saved. Go on with: {command}")

    def _wish(self, trainer: Trainer) -> int:
        """0, `SAVE` or `STOP`: the strongest wish of any rank, since all must save the same step."""
        wish = STOP if self.stop.asked else SAVE if self._due(trainer) else 0
        if trainer.world_size == 1:
            return wish
        wishes = torch.tensor(wish, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(wishes, reduce_op="max"))

    def _due(self, trainer: Trainer) -> bool:
        if self.steps is not None and trainer.global_step % self.steps == 0:
            return True
        return time.monotonic() - self._clock > 60 * self.minutes
