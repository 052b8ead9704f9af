"""LARS: SGD whose learning rate is scaled layer by layer, for batches of thousands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), as SimCLR, BYOL and SwAV use it.

    A parameter's step is ``lr * trust * ||w|| / ||g + wd w|| * (g + wd w)`` with momentum. One-dimensional parameters
    (biases, norms) get plain SGD without decay.

    Args:
        params: parameters or groups.
        lr: learning rate.
        momentum: of the update.
        weight_decay: of matrices and kernels.
        trust: trust coefficient.
    """

    def __init__(
        self, params: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update; ``closure`` recomputes the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        update = parameter.grad
        assert update is not None
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            weight, length = parameter.norm(), update.norm()
            ratio = torch.where((weight > 0) & (length > 0), group["trust"] * weight / length, torch.ones_like(weight))
            update = update * ratio
        state = self.state[parameter]
        buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
        buffer.mul_(group["momentum"]).add_(update)
        parameter.add_(buffer, alpha=-group["lr"])
