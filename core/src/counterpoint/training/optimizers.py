"""From `Optimization` to what Lightning wants: an optimiser and a schedule that steps with every batch."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from counterpoint.nn.lars import LARS
from counterpoint.training.settings import Optimization

if TYPE_CHECKING:
    from counterpoint.methods.base import Method


def rate(step: int, total: int, optimization: Optimization, begin: float = 0.0) -> float:
    """Share of the peak learning rate at ``step`` of ``total``: linear warm-up, then half a cosine.

    Args:
        step: updates done.
        total: of the training.
        optimization: its schedule.
        begin: share of the training after which these parameters begin, with a warm-up of their own.
    """
    warm, late = optimization.warmup * total, begin * total
    if begin and step < late:
        return 0.0
    ramp = min(1.0, (step - late + 1) / (warm + 1))
    if step < warm:
        return ramp
    progress = min(1.0, (step - warm) / max(1.0, total - warm))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    level = optimization.final_lr + (1 - optimization.final_lr) * cosine
    return level * ramp if begin else level


def build_optimizer(groups: list[dict[str, Any]], optimization: Optimization) -> torch.optim.Optimizer:
    """The named optimiser over parameter ``groups`` (those with their own ``weight_decay`` keep it)."""
    lr, decay, momentum = optimization.lr, optimization.weight_decay, optimization.momentum
    if optimization.name == "adamw":
        # fused: one pass over memory, also on a CPU
        return torch.optim.AdamW(groups, lr=lr, betas=optimization.betas, weight_decay=decay, fused=True)
    if optimization.name == "adam":
        return torch.optim.Adam(groups, lr=lr, betas=optimization.betas, weight_decay=decay, fused=True)
    if optimization.name == "sgd":
        return torch.optim.SGD(groups, lr=lr, weight_decay=decay, momentum=momentum)
    optimizer: torch.optim.Optimizer = LARS(groups, lr=lr, weight_decay=decay, momentum=momentum)
    return optimizer


def configure(method: Method, optimization: Optimization) -> dict[str, Any]:
    """Lightning's dictionary for ``configure_optimizers``."""
    optimizer = build_optimizer(method.parameter_groups(), optimization)
    total = method.total_steps
    begins = [group.get("begin", 0.0) for group in optimizer.param_groups]
    schedule = LambdaLR(optimizer, [partial(rate, total=total, optimization=optimization, begin=b) for b in begins])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
