"""DINO-style self-distillation: the student foresees the centred and sharpened output of its momentum twin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._inputs import check_above, check_at_least, check_temperature, check_views, full_precision
from counterpoint.objectives._sums import rows_over_ranks, sum_over_ranks
from counterpoint.objectives.base import Objective, Reduction, Result


def self_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    centre: Tensor,
    temperature: float = 0.1,
    teacher_temperature: float | Tensor = 0.04,
) -> Result:
    """Cross-entropy of the student's views with the teacher's, each teacher view against every *other* student view.

    With ``T`` teacher views, which are the student's first ``T`` (the global ones), and ``V`` student views::

        p_t = softmax((teacher[t] - centre) / teacher_temperature)                              without gradient
        L = 1/(T (V-1)) sum_t sum_{v != t}  -1/B sum_i sum_k p_t[i, k] log softmax(student[v][i] / temperature)_k

    Args:
        student: ``V >= 2`` tensors ``(B, K)`` of logits, global views first.
        teacher: ``1 <= T <= V`` tensors ``(B, K)`` of logits, in the order of the student's.
        centre: ``(K,)``, subtracted from the teacher's logits; the running mean of the teacher's outputs.
        temperature: of the student, above 0.
        teacher_temperature: below the student's, so that the teacher is the sharper one; above 0.

    Returns:
        loss, and the parts ``teacher_entropy`` (from 0, one output takes everything, to ``ln K``, all alike: both are
        collapse) and ``kl`` with ``loss = teacher_entropy + kl``.

    Raises:
        ShapeError: shapes that do not fit.
    """
    _check_outputs(student, teacher, centre)
    outputs = torch.stack([full_precision(view.detach()) for view in teacher])
    targets = ((outputs - centre) / teacher_temperature).softmax(dim=-1)
    terms = []
    for number, view in enumerate(student):
        # One product for all the targets of this view; cross_entropy is linear in its target.
        others = [t for t in range(len(teacher)) if t != number]
        if others:
            logits = full_precision(view) / temperature
            terms.append(cross_entropy(logits, targets[others].sum(dim=0).to(logits.dtype)))
    loss = torch.stack(terms).sum() / (len(teacher) * (len(student) - 1))
    entropy = torch.special.entr(targets).sum(dim=-1).mean()
    return Result(loss, {"teacher_entropy": entropy, "kl": loss.detach() - entropy})


def _check_outputs(student: Sequence[Tensor], teacher: Sequence[Tensor], centre: Tensor) -> None:
    check_views("student", student)
    check_views("teacher", teacher, least=1)
    shape = tuple(student[0].shape)
    if tuple(teacher[0].shape) != shape or len(teacher) > len(student):
        found = f"{len(teacher)} view(s) of shape {tuple(teacher[0].shape)}"
        todo = "The teacher sees the student's first views."
        raise ShapeError(message("teacher", found, f"up to {len(student)} of shape {shape}", todo))
    _check_width("student", student[0], centre)


def _check_width(argument: str, view: Tensor, centre: Tensor) -> None:
    if view.shape[1] != centre.shape[0]:
        todo = "Set prototypes to the width of the head's output."
        raise ShapeError(message(argument, f"{view.shape[1]} outputs", f"{centre.shape[0]} prototypes", todo))


class SelfDistillation(Objective):
    """DINO: `self_distillation` with a running centre and, if wanted, a warm-up of the teacher's temperature.

    Call the objective, then, once per optimiser step, `update_centre`: the centre is used as it was before the step.

    Relations: SwAV's swapped prediction with the teacher's centred softmax in the place of Sinkhorn's codes. Centring
    alone drives to the uniform output, sharpening alone to a single one; together they hold each other.

    Args:
        prototypes: width ``K`` of the head's output, at least 2.
        temperature: of the student, above 0.
        teacher_temperature: of the teacher after the warm-up, above 0 (DINO 0.04 to 0.07).
        warmup_temperature: of the teacher at step 0, above 0; without effect when ``warmup_steps`` is 0.
        warmup_steps: optimiser steps of the linear way from the one to the other, at least 0.
        centre_momentum: share of the old centre that stays at an update, in [0, 1].

    Attributes:
        centre: buffer ``(K,)`` float32.
        step: buffer, int64, number of updates so far (so that a resumed run goes on with the schedule).

    Raises:
        ConfigError: a setting out of its range.

    Over ranks: each sample's term stands alone once the centre is given, and the centre is the same on all ranks. Cost:
    ``O(V B K)``. Source: Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers, eq. 3-4.
    """

    reduction: ClassVar[Reduction] = "mean"
    centre: Tensor
    step: Tensor

    def __init__(
        self,
        prototypes: int,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        warmup_temperature: float = 0.04,
        warmup_steps: int = 0,
        centre_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        check_at_least("prototypes", prototypes, 2)
        check_temperature(temperature)
        check_above("teacher_temperature", teacher_temperature)
        check_above("warmup_temperature", warmup_temperature)
        check_at_least("warmup_steps", warmup_steps)
        if not 0 <= centre_momentum <= 1:
            raise ConfigError(message("centre_momentum", centre_momentum, "0 to 1"))
        self.prototypes = prototypes
        self.temperature = temperature
        self.final_temperature = teacher_temperature
        self.warmup_temperature = warmup_temperature
        self.warmup_steps = warmup_steps
        self.centre_momentum = centre_momentum
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def teacher_temperature(self) -> float | Tensor:
        """The teacher's temperature at this step (a scalar tensor in a warm-up, so that a GPU is not waited for)."""
        if self.warmup_steps == 0:
            return self.final_temperature
        done = (self.step / self.warmup_steps).clamp(max=1)
        return self.warmup_temperature + (self.final_temperature - self.warmup_temperature) * done

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Result:
        """Loss of ``V`` student and ``T`` teacher views, each ``(B, K)``; changes no buffer.

        Raises:
            ShapeError: see `self_distillation`.
        """
        return self_distillation(student, teacher, self.centre, self.temperature, self.teacher_temperature)

    @torch.no_grad()
    def update_centre(self, teacher: Sequence[Tensor]) -> None:
        """Move the centre towards the mean output of all teacher views on all ranks, and count the step.

        Args:
            teacher: ``T >= 1`` tensors ``(B, K)``, the same that the loss was given.

        Raises:
            ShapeError: shapes that do not fit, or ranks with unequal batches.
        """
        check_views("teacher", teacher, least=1)
        _check_width("teacher", teacher[0], self.centre)
        count = len(teacher) * rows_over_ranks(teacher[0])
        local = torch.stack([full_precision(view.detach()).sum(dim=0) for view in teacher]).sum(dim=0)
        mean = sum_over_ranks(local) / count
        self.centre.lerp_(mean.to(self.centre.dtype), 1 - self.centre_momentum)
        self.step += 1

    def chance(self, batch_size: int) -> float:
        """``ln K``: teacher and student uniform."""
        return math.log(self.prototypes)
