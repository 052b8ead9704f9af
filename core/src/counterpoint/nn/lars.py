"""LARS: SGD whose learning rate is scaled layer by layer, for batches of thousands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from counterpoint.errors import ConfigError, message


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), as SimCLR, BYOL and SwAV use it.

    With ``u = g + weight_decay w`` and ``u <- trust ||w|| / ||u|| u`` (the factor is 1 where a length is 0)::

        v <- momentum v + u        w <- w - lr v

    One-dimensional parameters (biases, norms) get plain SGD with momentum, without decay.

    Args:
        params: parameters or groups.
        lr: learning rate, 0 or more (SimCLR: 0.3 for each 256 samples).
        momentum: 0 to below 1.
        weight_decay: of matrices and kernels, 0 or more (SimCLR, SwAV: 1e-6).
        trust: trust coefficient, above 0.

    Raises:
        ConfigError: a setting out of its range.
    """

    def __init__(
        self, params: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001
    ) -> None:
        if lr < 0 or weight_decay < 0 or trust <= 0 or not 0 <= momentum < 1:
            found = f"lr={lr}, momentum={momentum}, weight_decay={weight_decay}, trust={trust}"
            raise ConfigError(message("LARS", found, "lr, weight_decay >= 0; 0 <= momentum < 1; trust > 0"))
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
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, update: Tensor, group: dict[str, Any]) -> None:
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            weight, length = parameter.norm(), update.norm()
            ratio = torch.where((weight > 0) & (length > 0), group["trust"] * weight / length, 1.0)
            update = update * ratio
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
        parameter.add_(velocity, alpha=-group["lr"])
