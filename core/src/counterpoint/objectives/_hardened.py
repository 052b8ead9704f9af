"""What the objectives that harden InfoNCE share: when it begins, which rows are compared by default, the settings."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from counterpoint.objectives._contrast import Temperature, sides
from counterpoint.objectives._inputs import check_share
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.info_nce import info_nce_loss


class Hardened(Objective):
    """Base of `MoCHi` and `FeatureTransform`: plain InfoNCE until a share of the training, then a harder task.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        warmup: share of the training without hardening, 0 to 1.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives. None: only where there is no queue.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        temperature: float,
        warmup: float,
        symmetric: bool | None,
        in_batch: bool | None,
        learnable_temperature: bool,
    ) -> None:
        super().__init__()
        check_share("warmup", warmup, "a share of the training, in [0, 1]")
        self.temperature = Temperature(temperature, learnable_temperature)
        self.warmup, self.symmetric, self.in_batch = warmup, symmetric, in_batch

    @abstractmethod
    def _harder(self, *inputs: Any, **settings: Any) -> Result:
        """The loss after the warm-up; called as `info_nce_loss`."""

    @abstractmethod
    def _added(self, in_batch: int) -> int:
        """Candidates that hardening adds to those of each anchor, of which so many are in the batch."""

    @property
    def hardens(self) -> bool:
        """Whether the warm-up is over, as far as ``progress`` tells."""
        return self.progress >= self.warmup

    def forward(
        self,
        embeddings: Sequence[Tensor],
        ids: Tensor | None = None,
        negatives: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Result:
        """Arguments as in `info_nce_loss`."""
        temperature = self.temperature()
        loss = self._harder if self.hardens else info_nce_loss
        result = loss(
            embeddings,
            ids,
            negatives,
            negative_ids,
            temperature=temperature,
            **sides(self.symmetric, self.in_batch, negatives),
        )
        self._notice(embeddings, negatives)
        if isinstance(temperature, Tensor):
            result.parts["temperature"] = temperature.detach()
        return result

    def chance(self, batch_size: int) -> float | None:
        """Log of the number of candidates of the last call; before the first: two views, no queue."""
        _, queued = self._seen
        in_batch = self.in_batch if self.in_batch is not None else not queued
        inside = batch_size - 1 if in_batch else 0
        others = queued + inside
        return math.log(1 + others + (self._added(inside) if self.hardens else 0)) if others else None
