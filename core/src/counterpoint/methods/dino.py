"""DINO: self-distillation with no labels; a momentum teacher, centred and sharpened."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from counterpoint.methods._common import detached, global_views, width
from counterpoint.methods.base import HeadFactory
from counterpoint.methods.fit import require
from counterpoint.methods.momentum import MomentumMethod
from counterpoint.nn.heads import DINOHead
from counterpoint.objectives import SelfDistillation
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class DINO(MomentumMethod):
    """The student sees all crops, the teacher the global ones; each pair of different crops is compared.

    Args:
        encoder: what is learnt (any encoder with pooled features; the paper's are vision transformers).
        objective: SelfDistillation of the head's width by default.
        projector: in_dim -> head; `DINOHead` with 256 outputs by default (paper: 65,536 outputs, no norm).
        momentum: of the teacher at the start, rising to 1 (paper: 0.996 at batch 1024; short trainings want less).
        freeze_share: share of the training during which the head's last layer stands still (paper: one epoch).

    Raises:
        ConfigError: an objective that does not compare a student with a teacher, or a momentum out of its range.

    Source: Caron et al. 2021 (arXiv 2104.14294).
    """

    calls_with: ClassVar[tuple[str, ...]] = ("student", "teacher")

    def __init__(
        self,
        encoder: Encoder,
        objective: SelfDistillation | None = None,
        projector: HeadFactory | None = None,
        momentum: float = 0.97,
        freeze_share: float = 0.05,
    ) -> None:
        super().__init__(encoder, projector or DINOHead, momentum, 1.0)
        outputs = width(self.projector, encoder.dim)
        self.objective = SelfDistillation(outputs) if objective is None else objective
        require(self, self.objective)
        self.freeze_share = freeze_share
        self._teacher: list[Tensor] = []

    def step(self, views: list[View], batch: Batch) -> Step:
        """Cross-entropy between teacher and student over pairs of different crops.

        Raises:
            ShapeError: no global view, or a local one before it; outputs of another width than the objective's.
        """
        shown = global_views(self, views)
        student = self.project(views)
        self._teacher = self.project_twin(views[:shown])
        result = self.objective(student, self._teacher)
        chance = self.objective.chance(self.global_rows(batch))
        return Step(result.loss, result.parts, detached(student[0], student[1]), chance)

    def after_backward(self) -> None:
        """Drop the last layer's gradient while it is frozen."""
        if self.frozen(self.freeze_share) and isinstance(self.projector, DINOHead):
            self.projector.freeze_last()

    def after_step(self) -> None:
        """Follow, then move the centre."""
        super().after_step()
        if self._teacher:
            self.objective.update_centre(self._teacher)
            self._teacher = []
