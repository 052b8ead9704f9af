"""Heads that answer: an encoder's features -> the class, or the number. A fine-tuned run keeps one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST_SPREAD = 0.05
"""Of the features' typical spread: what a dimension that hardly varies is divided by, lest its noise be blown up."""


class LinearHead(nn.Module):
    """Linear map ``(B, dim)`` -> ``(B, out_dim)`` of standardised features.

    Centre and scale of the features are taken once, before training (`standardise`), and kept: so one learning rate
    fits encoders whose features differ by orders of magnitude.

    Args:
        dim: width of the features.
        out_dim: width of the answer.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.linear = nn.Linear(dim, out_dim)
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.center: Tensor
        self.scale: Tensor

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Take centre and scale from ``(N, dim)`` features, N >= 1; where nothing varies the scale stays 1."""
        spread = features.std(dim=0, correction=0)
        typical = float(spread.square().mean().sqrt())
        self.center.copy_(features.mean(dim=0))
        if typical > 0:
            self.scale.copy_(spread.clamp_min(LEAST_SPREAD * typical))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, dim)`` -> ``(B, out_dim)``."""
        answers: Tensor = self.linear((features - self.center) / self.scale)
        return answers


class ClassHead(LinearHead):
    """Features ``(B, dim)`` -> logits ``(B, classes)``.

    Args:
        dim: width of the features.
        classes: how many.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)


class NumberHead(LinearHead):
    """Features ``(B, dim)`` -> numbers ``(B,)`` in the unit of the targets.

    It learns standardised numbers, ``(target - mean) / std``, so that one learning rate fits degrees and millions.

    Args:
        dim: width of the features.
        mean: of the training targets.
        std: of them; above 0.
    """

    def __init__(self, dim: int, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(dim, 1)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.mean: Tensor
        self.std: Tensor

    def standardised(self, features: Tensor) -> Tensor:
        """``(B, dim)`` -> ``(B,)``, mean 0 and standard deviation 1 over the training targets."""
        return super().forward(features).squeeze(1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, dim)`` -> ``(B,)``."""
        return self.standardised(features) * self.std + self.mean

    @torch.no_grad()
    def set(self, weight: Tensor, bias: float) -> None:
        """Answer ``features @ weight + bias`` from now on, ``weight`` being ``(dim,)``."""
        weight = weight.to(self.center)
        self.linear.weight.copy_(weight * self.scale / self.std)
        self.linear.bias.copy_((bias + weight @ self.center - self.mean) / self.std)
