"""The momentum twin: a copy that follows slowly (MoCo's key encoder, BYOL's target, DINO's teacher)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, message


class MomentumTwin(nn.Module):
    """Exponential moving average of a module's parameters.

    ``twin <- m twin + (1 - m) online``, with ``m`` rising from ``momentum`` to ``final`` along half a cosine over
    ``total_steps`` (BYOL, appendix; DINO, section 3); equal values keep it constant (MoCo). Buffers, such as
    BatchNorm's running statistics, are *copied*: they are averages already, of the same inputs. The step counter is a
    buffer, so that a resumed run goes on where it was.

    Args:
        online: the module that is followed.
        momentum: m at the first step, in [0, 1].
        final: m at the last step, in [0, 1].

    Raises:
        ConfigError: a momentum out of its range.
    """

    def __init__(self, online: nn.Module, momentum: float = 0.99, final: float = 1.0) -> None:
        super().__init__()
        for name, value in (("momentum", momentum), ("final momentum", final)):
            if not 0 <= value <= 1:
                raise ConfigError(message(name, value, "a number from 0 to 1"))
        self.module = copy.deepcopy(online).requires_grad_(False)
        self.momentum, self.final = momentum, final
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.steps: Tensor

    def at(self, total_steps: int) -> float:
        """The rate m at the present step of ``total_steps``; of 0 (unknown), the rate at the start."""
        if self.momentum == self.final:
            return self.momentum
        progress = min(1.0, int(self.steps) / total_steps) if total_steps else 0.0
        return self.final - (self.final - self.momentum) * 0.5 * (1 + math.cos(math.pi * progress))

    @torch.no_grad()
    def follow(self, online: nn.Module, total_steps: int) -> None:
        """One EMA step towards ``online``; call after the optimiser's step."""
        m = self.at(total_steps)
        ours = [p.detach() for p in self.module.parameters()]
        theirs = [p.detach() for p in online.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - m)
        for own, other in zip(self.module.buffers(), online.buffers()):
            own.copy_(other)
        self.steps += 1
