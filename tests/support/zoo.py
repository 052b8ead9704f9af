"""Small ones of every objective, and how a cell of objectives x methods is walked: a tiny batch learnt by heart."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from counterpoint import objectives
from counterpoint.methods import Method
from counterpoint.methods.fit import kinds
from counterpoint.objectives import Objective
from counterpoint.types import Batch, Step, View

CLASSES, WIDTH = 20, 16
MAKE: dict[str, Callable[[], Objective]] = {
    **{kind.__name__: kind for kind in kinds()},
    "Hydra": lambda: objectives.Hydra(CLASSES, WIDTH, embedding=16, hidden=32),
    "MoCHi": lambda: objectives.MoCHi(hardest=8, mixed=8, query_mixed=4),
    "SelfDistillation": lambda: objectives.SelfDistillation(WIDTH),
}
"""Name -> a new one. Those that compare embeddings do it at a width of 16."""


def learns(method: Method, views: list[View], batch: Batch, steps: int = 20, lr: float = 1e-2) -> None:
    """Assert that a tiny batch is learnt by heart: what learning can lessen falls by 2 % of the loss or more.

    Whatever an objective draws is the same in each step, so that steps can be compared; they are from the third on,
    where a queue of a few batches is full.
    """
    method.train()
    method.total_steps = steps
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=lr)
    losses, curve = [], []
    for _ in range(steps):
        torch.manual_seed(1)
        step: Step = method(views, batch)
        step.loss.backward()
        method.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        losses.append(float(step.loss.detach()))
        curve.append(_excess(step))
    assert all(map(math.isfinite, losses)), losses
    before, after = max(curve[2:5]), sum(curve[-3:]) / 3
    assert after < before - 0.02 * max(map(abs, losses[2:5])), f"{before} -> {after}"


def _excess(step: Step) -> float:
    """The loss over its chance level; of a distillation the divergence, for the teacher's entropy rises at first."""
    if "kl" in step.parts:
        return float(step.parts["kl"])
    return float(step.loss.detach()) - (step.chance or 0.0)
