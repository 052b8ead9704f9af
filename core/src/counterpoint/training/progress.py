"""How far, how fast, how good: a progress bar at a terminal, one plain line an epoch elsewhere (CI, a log file)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from counterpoint.training.monitors import Monitor
from counterpoint.training.verdict import UNTRAINED
from counterpoint.types import Step

SECONDS = 0.5
"""Between two looks at the loss: reading it makes a GPU wait."""


class Progress(Callback):
    """Shows epoch, step, loss beside its chance level, kNN beside what it was before, samples/s and time left.

    Put it after the `Monitor`, whose newest kNN it shows. Rank zero only.

    Args:
        quiet: show nothing.
        select: metric of val that chooses the epoch, shown where there is one.
        console: where to; None is standard output. What is no terminal gets one line an epoch.
        before: what the encoder was before the first update.
    """

    def __init__(
        self,
        quiet: bool = False,
        select: str | None = None,
        console: Console | None = None,
        before: str = UNTRAINED,
    ) -> None:
        self.quiet, self.select, self.before = quiet, select, before
        self.console = console or Console()
        self._bars: Bars | None = None
        self._total, self._epoch = TaskID(0), TaskID(1)
        self._begun = self._looked = time.monotonic()
        self._first = self._done = self._samples = 0
        self._rate = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bars, at the step where a resumed run goes on."""
        self._first = self._done = trainer.global_step * trainer.accumulate_grad_batches
        self._begun = self._looked = time.monotonic()
        self._samples = 0
        if self._shown(trainer) and self._live():
            self._bars = _bars(self.console)
            self._total = self._bars.add_task("total", total=_batches(trainer), completed=self._done, said="")
            self._epoch = self._bars.add_task("epoch", total=_epoch_batches(trainer), said="")
            self._bars.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the epoch's bar anew, and the clock after what was done between epochs."""
        self._looked, self._samples = time.monotonic(), 0
        if self._bars is not None:
            self._bars.reset(self._epoch, description=f"epoch {_epoch_number(trainer)}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance; look at the loss twice a second."""
        if not self._shown(trainer):
            return
        self._samples += len(batch[0]) * trainer.world_size
        self._done += 1
        now = time.monotonic()
        if now - self._looked >= SECONDS or trainer.is_last_batch:
            self._count(now)
            if self._bars is not None:
                self._bars.update(self._total, said=self._text(trainer, pl_module))
        if self._bars is not None:
            self._bars.update(self._total, completed=self._done)
            self._bars.update(self._epoch, completed=batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's kNN; where there is no terminal, print the epoch's line."""
        if not self._shown(trainer):
            return
        if self._rate == 0 and self._samples:  # a training that ended within its first look
            self._count(time.monotonic())
        text = self._text(trainer, pl_module)
        if self._bars is not None:
            self._bars.update(self._total, said=text)
        else:
            left = self._left(trainer)
            self.console.print(
                f"epoch {_epoch_number(trainer)} · step {trainer.global_step} · {text}{left}", soft_wrap=True
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bars."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bars, so that the message stands below them."""
        self._close()

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _shown(self, trainer: Trainer) -> bool:
        return trainer.is_global_zero and not self.quiet

    def _live(self) -> bool:
        return (self.console.is_terminal or self.console.is_jupyter) and not self.console.is_dumb_terminal

    def _count(self, now: float) -> None:
        """Samples per second, smoothed over the last few looks."""
        rate = self._samples / max(now - self._looked, 1e-9)
        self._rate = rate if self._rate == 0 else 0.7 * self._rate + 0.3 * rate
        self._looked, self._samples = now, 0

    def _text(self, trainer: Trainer, pl_module: LightningModule) -> str:
        said = describe(cast(Step, pl_module.last_step), _latest(trainer), self.select, self.before)
        return " · ".join([*said, f"{self._rate:,.0f} samples/s"])

    def _left(self, trainer: Trainer) -> str:
        total, done = _batches(trainer), self._done - self._first
        if total is None or done == 0:
            return ""
        seconds = (time.monotonic() - self._begun) / done * (total - self._done)
        return f" · {timedelta(seconds=round(seconds))} left"


def describe(told: Step, latest: Mapping[str, float], select: str | None = None, before: str = UNTRAINED) -> list[str]:
    """Loss beside chance; kNN, or what chooses the epoch, beside what it was ``before``: the pieces of a line."""
    chance = "" if told.chance is None else f" (chance {told.chance:.2f})"
    pieces = [f"loss {float(told.loss.detach()):.3f}{chance}"]
    knn = [value for name, value in latest.items() if name.startswith("val/knn")]
    first = [value for name, value in latest.items() if name.startswith("untrained/knn")]
    if knn:
        beside = f" ({before} {first[0]:.1%})" if first else ""
        pieces.append(f"kNN {knn[0]:.1%}{beside}")
    if select is not None and f"val/{select}" in latest:
        start = latest.get(f"untrained/{select}")
        beside = "" if start is None else f" ({before} {start:.4f})"
        pieces.append(f"{select} {latest[f'val/{select}']:.4f}{beside}")
    return pieces


def _latest(trainer: Trainer) -> Mapping[str, float]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    monitors = [callback for callback in callbacks if isinstance(callback, Monitor)]
    return monitors[0].latest if monitors else {}


def _bars(console: Console) -> Bars:
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    return Bars(TextColumn("{task.description}"), *columns, TextColumn("{task.fields[said]}"), console=console)


def _epoch_batches(trainer: Trainer) -> int | None:
    batches = trainer.num_training_batches
    return None if batches == float("inf") else int(batches)


def _batches(trainer: Trainer) -> int | None:
    """Batches of the whole run, or None where nothing bounds them."""
    batches = _epoch_batches(trainer)
    bounds = []
    if batches is not None and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        bounds.append(batches * trainer.max_epochs)
    if trainer.max_steps >= 0:
        bounds.append(trainer.max_steps * trainer.accumulate_grad_batches)
    return min(bounds, default=None)


def _epoch_number(trainer: Trainer) -> str:
    """The epoch's number, of as many as epochs and steps allow."""
    batches, epoch = _batches(trainer), _epoch_batches(trainer)
    return f"{trainer.current_epoch + 1}" + (f"/{math.ceil(batches / epoch)}" if batches and epoch else "")
