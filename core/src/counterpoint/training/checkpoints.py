"""``checkpoints/last.ckpt``: written atomically, on a clock, at each epoch's end, and when somebody presses Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from counterpoint.errors import Interrupted, TrainingError

LAST = "checkpoints/last.ckpt"
SAVE, STOP = 1, 2


class SaveLast(Callback):
    """Write the whole training state to ``last.ckpt``.

    Args:
        run: run directory.
        minutes: at least so often.
        steps: or every so many steps, if set.
    """

    def __init__(self, run: Path, minutes: float, steps: int | None = None) -> None:
        self.path = run / LAST
        self.minutes, self.steps = minutes, steps
        self.asked: str | None = None
        self._clock = time.monotonic()
        self._handlers: dict[int, Any] = {}

    def save(self, trainer: Trainer) -> None:
        """Save now, on all ranks together; the old checkpoint stays until the new one is whole."""
        self._clock = time.monotonic()
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
                f"make room and go on with: counterpoint pretrain --resume {self.path.parents[1]}"
            ) from error

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for Ctrl-C and for a scheduler's SIGTERM (only the main thread can)."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._ask)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:  # asked twice: leave at once, the last checkpoint is whole
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when the clock, the step count or a signal says so."""
        # The last batch of an epoch is saved by on_train_epoch_end, after the monitors have had their say.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        wish = self._wish(trainer)
        if wish:
            self.save(trainer)
        if wish == STOP:
            raise self._interrupted(trainer)

    def _interrupted(self, trainer: Trainer) -> Interrupted:
        run = self.path.parents[1]
        return Interrupted(
            f"Stopped at step {trainer.global_step}; everything is saved. "
            f"Go on with: counterpoint pretrain --resume {run}"
        )

    def _wish(self, trainer: Trainer) -> int:
        """0, `SAVE` or `STOP`: the strongest wish of any rank, since all must save the same step."""
        wish = STOP if self.asked else SAVE if self._due(trainer) else 0
        if trainer.world_size == 1:
            return wish
        wishes = torch.tensor(wish, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(wishes, reduce_op="max"))

    def _due(self, trainer: Trainer) -> bool:
        if self.steps is not None and trainer.global_step % self.steps == 0:
            return True
        return time.monotonic() - self._clock > 60 * self.minutes

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the finished epoch."""
        self.save(trainer)
        if self._wish(trainer) == STOP and not trainer.fit_loop.done:
            raise self._interrupted(trainer)
