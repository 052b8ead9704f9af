"""From `Optimization` to what Lightning wants: an optimiser and a schedule that steps with every batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from counterpoint.nn.lars import LARS
from counterpoint.training.settings import Optimization

if TYPE_CHECKING:
    from counterpoint.methods.base import Method


def rate(step: int, total: int, optimization: Optimization) -> float:
    """Share of the peak learning rate at ``step`` of ``total``: linear warm-up, then half a cosine."""
    warm = optimization.warmup * total
    if step < warm:
        return (step + 1) / (warm + 1)
    progress = min(1.0, (step - warm) / max(1.0, total - warm))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return optimization.final_lr + (1 - optimization.final_lr) * cosine


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
    schedule = LambdaLR(optimizer, lambda step: rate(step, total, optimization))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
