"""Heads that answer: an encoder's features -> the class, or the number. A fine-tuned run keeps one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassHead(nn.Linear):
    """Linear map ``(B, dim)`` -> logits ``(B, classes)``.

    Args:
        dim: width of the features.
        classes: how many; 2 or more.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)


class NumberHead(nn.Module):
    """Linear map ``(B, dim)`` -> numbers ``(B,)`` in the unit of the targets.

    It learns standardised numbers, ``(target - mean) / std``, so that one learning rate fits degrees and millions.

    Args:
        dim: width of the features.
        mean: of the training targets.
        std: of them; above 0.
    """

    def __init__(self, dim: int, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.mean: Tensor
        self.std: Tensor

    def standardised(self, features: Tensor) -> Tensor:
        """``(B, dim)`` -> ``(B,)``, mean 0 and standard deviation 1 over the training targets."""
        numbers: Tensor = self.linear(features)
        return numbers.squeeze(1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, dim)`` -> ``(B,)``."""
        return self.standardised(features) * self.std + self.mean

    @torch.no_grad()
    def set(self, weight: Tensor, bias: float) -> None:
        """Answer ``features @ weight + bias`` from now on, ``weight`` being ``(dim,)``."""
        self.linear.weight.copy_(weight / self.std)
        self.linear.bias.fill_((bias - float(self.mean)) / float(self.std))
