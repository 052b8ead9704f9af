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
    with torch.no_grad():
        powers = [(view * (LOG2E / temperature)).exp2_() for view in scores]
        sums = [view.sum(dim=1) for view in powers]
        if not all(float(total.amin()) >= SMALL for total in sums):  # which NaN is not
            return None
        codes, used = list[Tensor](), list[Tensor]()
        for view, power in zip(scores[:assign], powers):
            # Temperature / epsilon is 2 by default, and a square is much cheaper than another exponential.
            own = power * power if temperature == 2 * epsilon else (view * (LOG2E / epsilon)).exp2_()
            usage = _balance(own, iterations)
            if usage is None:
                return None
            codes.append(own)
            used.append(usage)
        unit = 1.0 / (len(first) * assign * (len(scores) - 1))
        value, slopes = _foreseen(scores, powers, sums, codes, temperature)
        if not math.isfinite(float(value)):
            return None
    return Swap(_Known.apply(value * unit, slopes, unit / temperature, *scores), functools.reduce(operator.add, used))


def _balance(powers: Tensor, iterations: int) -> Tensor | None:
    """Make codes of ``powers``, in place, by `sinkhorn`'s steps; their sum over samples; None: digits were lost."""
    total = powers.shape[0] / powers.shape[1]
    column = total / powers.sum(dim=0)
    row = (powers @ column).reciprocal_()
    for _ in range(iterations - 1):
        column = total / (row @ powers)
        row = (powers @ column).reciprocal_()
    used = (row @ powers).mul_(column)
    powers.mul_(row[:, None]).mul_(column)
    return used if float(column.amax()) <= LARGE else None


def _foreseen(
    scores: Sequence[Tensor], powers: list[Tensor], sums: list[Tensor], codes: list[Tensor], temperature: float
) -> tuple[Tensor, list[Tensor | None]]:
    """Sum of the cross-entropies; its derivative by each view's ``scores / temperature``, in place of the powers."""
    terms, slopes = list[Tensor](), list[Tensor | None]()
    for number, (view, power, total) in enumerate(zip(scores, powers, sums)):
        others = [code for a, code in enumerate(codes) if a != number]
        if not others:  # one code, which its own view does not foresee
            slopes.append(None)
            continue
        wanted = others[0] if len(others) == 1 else torch.stack(others).sum(dim=0)
        along = torch.dot(view.reshape(-1), wanted.reshape(-1)) / temperature
        terms.append(len(others) * total.log().sum() - along)
        slopes.append(power.mul_((len(others) / total)[:, None]).sub_(wanted))
    return functools.reduce(operator.add, terms), slopes


class _Known(torch.autograd.Function):
    """A value whose derivatives, but for a factor, are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slopes: Sequence[Tensor | None], factor: float, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*slopes)
        ctx.factor = factor
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        factor = grad * ctx.factor
        return (None, None, None, *(None if slope is None else slope * factor for slope in ctx.saved_tensors))
