"""DINO: self-distillation with no labels; a momentum teacher, centred and sharpened."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from counterpoint.methods.base import HeadFactory, width
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
        projector: in_dim -> head; `DINOHead` by default (paper: 65,536 outputs).
        momentum: of the teacher at the start, rising to 1 (paper: 0.996 at batch 1024).
        freeze_share: share of the training during which the head's last layer stands still (paper: one epoch).

    Source: Caron et al. 2021 (arXiv 2104.14294).
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: SelfDistillation | None = None,
        projector: HeadFactory | None = None,
        momentum: float = 0.99,
        freeze_share: float = 0.05,
    ) -> None:
        super().__init__(encoder, projector or partial(DINOHead), momentum, 1.0)
        outputs = width(self.projector, encoder.dim)
        self.objective = SelfDistillation(outputs) if objective is None else objective
        self.freeze_share = freeze_share
        self._teacher: list[Tensor] = []

    def step(self, views: list[View], batch: Batch) -> Step:
        """Cross-entropy between teacher and student over pairs of different crops."""
        student = self.project(views)
        self._teacher = self.project_twin([view for view in views if view.role == "global"])
        result = self.objective(student, self._teacher)
        pair = (student[0].detach(), student[1].detach())
        return Step(result.loss, result.parts, pair, self.objective.chance(self.global_rows(batch)))

    def after_backward(self) -> None:
        """Drop the last layer's gradient while it is frozen."""
        if self.frozen(self.freeze_share) and isinstance(self.projector, DINOHead):
            for parameter in self.projector.last.parameters():
                parameter.grad = None

    def after_step(self) -> None:
        """Follow, then move the centre."""
        super().after_step()
        if self._teacher:
            self.objective.update_centre(self._teacher)
            self._teacher = []
