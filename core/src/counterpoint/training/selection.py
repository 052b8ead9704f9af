"""Which epoch is kept: the best on val by one metric, instead of the last; and when there is no more hope, the end.

The test split has no part in this: what chooses are the monitor's numbers, which are of val.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from counterpoint.errors import ConfigError, TrainingError, unknown
from counterpoint.evaluation.table import smaller_is_better
from counterpoint.training.encoder_files import load_weights, save_weights
from counterpoint.training.monitors import Monitor

BEST = "checkpoints/best.safetensors"


class Selection(Callback):
    """Keep the encoder of the epoch whose ``val/<metric>`` is largest; stop after ``patience`` looks without a better.

    Put it behind the `Monitor`, whose looks at the encoder it judges, and before what saves checkpoints.

    Args:
        run: run directory.
        monitor: that looks.
        metric: name without ``val/``; the largest is best, of errors the smallest (`smaller_is_better`).
        patience: looks; None: train to the end.

    Attributes:
        best: ``value``, ``epoch`` and ``step`` of the best look; empty before the first.
    """

    def __init__(self, run: Path, monitor: Monitor, metric: str, patience: int | None) -> None:
        self.path, self.monitor, self.metric, self.patience = run / BEST, monitor, metric, patience
        self.best: dict[str, float] = {}
        self._stale = 0

    def state_dict(self) -> dict[str, Any]:
        """The best look, and the looks since."""
        return {"best": dict(self.best), "stale": self._stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on judging where the checkpoint stands."""
        self.best, self._stale = dict(state_dict["best"]), int(state_dict["stale"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that was killed between its last look and its end has nothing more to do.

        Raises:
            ConfigError: the monitor, which has looked at the untrained encoder, measures no such thing.
        """
        if trainer.is_global_zero and trainer.global_step == 0:
            self._find("untrained")
        trainer.should_stop = trainer.should_stop or self._hopeless

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the epoch, if the monitor looked at the encoder after it. All ranks stop together.

        Raises:
            TrainingError: the disk does not take the weights.
        """
        if trainer.is_global_zero and self.monitor.looked_at_epoch == trainer.current_epoch:
            self._judge(trainer, pl_module.kept)  # type: ignore[arg-type]
        if trainer.strategy.reduce_boolean_decision(self._hopeless, all=False):
            trainer.should_stop = True

    @property
    def _hopeless(self) -> bool:
        return self.patience is not None and self._stale >= self.patience

    def _judge(self, trainer: Trainer, kept: nn.Module) -> None:
        value = self._find("val")
        sign = -1 if smaller_is_better(self.metric) else 1
        if not math.isfinite(value) or (self.best and sign * value <= sign * self.best["value"]):
            self._stale += 1
            return
        try:
            save_weights(kept, self.path)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be written ({error.strerror}). Make room.") from error
        self.best = {"value": value, "epoch": trainer.current_epoch, "step": trainer.global_step}
        self._stale = 0

    def _find(self, when: str) -> float:
        value = self.monitor.latest.get(f"{when}/{self.metric}")
        if value is None:
            names = [name for name in self.monitor.latest if name.startswith(f"{when}/")]
            known = [name.partition("/")[2] for name in names]
            raise ConfigError(unknown("select", self.metric, known))
        return value

    def restore(self, kept: nn.Module) -> None:
        """Give what is kept the weights of the best look, if there was any."""
        if self.best:
            load_weights(kept, self.path)

    def __str__(self) -> str:
        """What was chosen, in a line; empty where nothing was."""
        if not self.best:
            return ""
        return (
            f"Kept: the encoder after epoch {int(self.best['epoch']) + 1}, "
            f"{self.metric} {self.best['value']:.4f} on val"
        )
