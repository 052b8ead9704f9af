"""What the methods share: heads from factories, directions of a loss, views in the right order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from counterpoint.errors import ShapeError, message
from counterpoint.objectives import Result
from counterpoint.objectives.base import Parts
from counterpoint.types import View


def width(module: nn.Module, in_dim: int) -> int:
    """Width of a head's output: its ``out_dim``, else what comes out of it for a row of zeros."""
    known = getattr(module, "out_dim", None)
    if isinstance(known, int):
        return known
    training = module.training
    module.eval()
    with torch.no_grad():
        found = int(module(torch.zeros(1, in_dim)).shape[1])
    module.train(training)
    return found


def mean(results: Sequence[Result]) -> Result:
    """Mean loss and mean parts of several directions; the parts when one is read."""
    loss = torch.stack([result.loss for result in results]).mean()
    told = [result.parts for result in results]
    return Result(loss, Parts(lambda: {name: torch.stack([parts[name] for parts in told]).mean() for name in told[0]}))


def global_views(method: nn.Module, views: Sequence[View]) -> int:
    """Number of global views, which stand in front.

    Raises:
        ShapeError: there is none, or a local view stands before one.
    """
    roles = [view.role for view in views]
    number = roles.count("global")
    if number == 0 or "global" in roles[number:]:
        raise ShapeError(message(f"{type(method).__name__}: roles of the views", roles, "global ones, then local ones"))
    return number


def detached(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A pair for the monitors."""
    return a.detach(), b.detach()
