"""SwAV's loss in one go, gradient included: for one process on a CPU, without a queue, where plain powers will do.

What `sinkhorn` and `swapped_prediction` do one after the other, with fewer passes over the matrices: no maximum is
sought (what would overflow or vanish shows in the sums, and then there is no short way), and where the temperature is
twice epsilon the powers of the codes are the squares of those of the predictions.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.objectives._logsumexp import LOG2E
from counterpoint.objectives.gather import world_size

SMALL = 1e-12
"""A row whose sum of powers is no smaller has all its digits, and so have the squares of what counts in it."""
LARGE = 1e24
"""A prototype that has to be scaled up by more may have lost digits; what overflows shows in the loss."""


class Swap(NamedTuple):
    """The loss, and the sum over samples of each prototype's codes, ``(K,)``."""

    loss: Tensor
    usage: Tensor


def swap(scores: Sequence[Tensor], assign: int, temperature: float, epsilon: float, iterations: int) -> Swap | None:
    """The loss of `SwappedPrediction` on ``V`` views ``(B, K)`` of one type; None where there is no short way."""
    first = scores[0]
    kept = first.dtype in (torch.float32, torch.float64) and all(view.dtype == first.dtype for view in scores)
    if first.device.type != "cpu" or world_size() > 1 or torch.is_autocast_enabled("cpu") or not kept:
        return None
    unit = 1.0 / (len(first) * assign * (len(scores) - 1))
    with torch.no_grad():
        powers = [(view * (LOG2E / temperature)).exp2_() for view in scores]
        sums = [view.sum(dim=1) for view in powers]
        if not all(float(total.amin()) >= SMALL for total in sums):  # which NaN is not
            return None
        codes, used = list[Tensor](), list[Tensor]()
        for view, power in zip(scores[:assign], powers):
            # Temperature / epsilon is 2 by default, and a square is much cheaper than another exponential.
            own = power * power if temperature == 2 * epsilon else (view * (LOG2E / epsilon)).exp2_()
            usage = _balance(own, iterations, unit / temperature)
            if usage is None:
                return None
            codes.append(own)
            used.append(usage)
        value, slopes = 0.0, list[Tensor | None]()
        for number, (view, power, total) in enumerate(zip(scores, powers, sums)):
            others = [code for a, code in enumerate(codes) if a != number]
            value += _foresee(view, power, total, others, unit, temperature)
            slopes.append(power if others else None)
    if not math.isfinite(value):
        return None
    return Swap(_Known.apply(value, slopes, *scores), functools.reduce(operator.add, used))


def _balance(powers: Tensor, iterations: int, unit: float) -> Tensor | None:
    """Make ``unit`` times the codes of ``powers``, in place, by `sinkhorn`'s steps.

    Returns:
        The codes' sum over samples; None where digits were lost.
    """
    transposed = powers.t()
    column = powers.sum(dim=0).reciprocal_()  # but for a factor, which the rows take back
    row = torch.mv(powers, column).reciprocal_()
    for _ in range(iterations - 1):
        column = torch.mv(transposed, row).reciprocal_()
        row = torch.mv(powers, column).reciprocal_()
    usage = torch.mv(transposed, row).mul_(column)
    powers.mul_(row.mul_(unit).unsqueeze(1)).mul_(column)
    return usage if float(column.amax()) * powers.shape[0] <= LARGE * powers.shape[1] else None


def _foresee(view: Tensor, power: Tensor, total: Tensor, codes: list[Tensor], unit: float, temperature: float) -> float:
    """``unit`` times the sum of a view's cross-entropies with ``codes``, which are scaled as `_balance` leaves them.

    ``power``, whose rows sum to ``total``, becomes the derivative by the view.
    """
    if not codes:  # the only code is the view's own
        return 0.0
    wanted = codes[0] if len(codes) == 1 else torch.stack(codes).sum(dim=0)
    level, along = float(total.log().sum()), float(torch.dot(view.reshape(-1), wanted.reshape(-1)))
    each = unit * len(codes)
    power.mul_(total.reciprocal_().mul_(each / temperature).unsqueeze(1)).sub_(wanted)
    return each * level - along


class _Known(torch.autograd.Function):
    """A value whose derivatives are known already."""

    @staticmethod
    def forward(ctx: Any, value: float, slopes: Sequence[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*slopes)
        return inputs[0].new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes = ctx.saved_tensors
        if float(grad) != 1:  # which it is of `loss.backward()`
            slopes = [None if slope is None else slope * grad for slope in slopes]
        return (None, None, *slopes)
