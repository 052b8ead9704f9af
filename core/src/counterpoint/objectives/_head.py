"""From the positives' similarities and the negatives' log-sum-exps to the loss: the last step of InfoNCE, NT-Xent, DCL.

A dozen operations on ``(pairs, B)`` numbers, written as one function with its gradient in closed form; the statistics
for the log fall out on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from counterpoint.objectives._tiles import number

_EXACT = 50.0  # from here on log(1 + e^x) is x to the last digit of a float64


@dataclass(frozen=True, slots=True)
class PairList:
    """The positives: ordered pairs (anchor view, positive view), and the unordered ones behind them.

    Attributes:
        views: V.
        unordered: pairs ``(a, b)`` with a < b that occur.
        index: for each ordered pair its place in ``unordered``.
    """

    views: int
    unordered: tuple[tuple[int, int], ...]
    index: tuple[int, ...]

    @classmethod
    def of(cls, views: int, ordered: Sequence[tuple[int, int]]) -> PairList:
        """From the ordered pairs."""
        unordered = tuple(dict.fromkeys((min(p), max(p)) for p in ordered))
        return cls(views, unordered, tuple(unordered.index((min(p), max(p))) for p in ordered))

    def similarity(self, joined: Tensor) -> Tensor:
        """``(V * B, D)`` unit rows -> ``(ordered pairs, B)`` cosines, or ``(1, B)`` where one serves all."""
        rows = joined.view(self.views, -1, joined.shape[1])
        if self.views == 2:
            cosine: Tensor = torch.linalg.vecdot(rows[:1], rows[1:])
            return cosine
        cosines = [torch.linalg.vecdot(rows[a], rows[b]) for a, b in self.unordered]
        return torch.stack([cosines[u] for u in self.index])

    def backward(self, joined: Tensor, grad: Tensor) -> Tensor:
        """Gradient of `similarity`, from ``(ordered pairs, B)``."""
        rows = joined.view(self.views, -1, joined.shape[1])
        if self.views == 2:
            return (rows.flip(0) * grad.sum(0)[:, None]).view_as(joined)
        total = torch.zeros_like(rows)
        for u, weight in zip(self.index, grad):
            a, b = self.unordered[u]
            total[a].addcmul_(rows[b], weight[:, None])
            total[b].addcmul_(rows[a], weight[:, None])
        return total.view_as(joined)


class Values(NamedTuple):
    """What the forward pass finds: loss, the parts for the log, and two tensors that the backward pass needs."""

    loss: Tensor
    parts: tuple[Tensor, Tensor, Tensor, Tensor]
    q: Tensor
    cosine: Tensor


def head_forward(
    joined: Tensor, negative: Tensor, scale: float, weight: Tensor | None, pairs: PairList, decoupled: bool
) -> Values:
    """See `Head`."""
    cosine = pairs.similarity(joined)
    margin = torch.sub(negative, cosine, alpha=scale)
    q = torch.sigmoid(margin)
    value = margin if decoupled else F.softplus(margin, threshold=_EXACT)
    if weight is not None:
        value = value + (1.0 - weight) * (cosine * scale)
    if decoupled:
        value = torch.where(negative == -math.inf, 0.0, value)
    spread, mean = torch.std_mean(q, correction=0)
    return Values(value.mean(), (cosine.mean(), 1.0 - mean, mean, spread), q, cosine)


def head_backward(
    grad: Tensor, negative: Tensor, q: Tensor, weight: Tensor | None, decoupled: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by the negatives' log-sum-exps, by the positives' logits, and by ``1 - w`` times these."""
    share = grad / negative.numel()
    counted = torch.where(negative == -math.inf, 0.0, share) if decoupled else share
    slope = counted if decoupled else q * share
    logit = -slope if weight is None else (1.0 - weight) * counted - slope
    return slope, logit, counted


class Head(torch.autograd.Function):
    """``mean of f(u - s) + (1 - w) s`` with ``f = softplus``, or the identity if decoupled.

    ``s`` = scale * cosine of the positives, ``u`` = the negatives' log-sum-exp, both ``(ordered pairs, B)``; ``w`` = 1
    where no weight is given. Decoupled, an anchor without any negative (``u = -inf``) adds nothing.

    Returns the loss and, without gradient, the means of cosine, ``1 - q`` and ``q``, and the standard deviation of
    ``q = sigmoid(u - s)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        joined: Tensor,
        negative: Tensor,
        scale: float | Tensor,
        weight: Tensor | None,
        pairs: PairList,
        decoupled: bool,
    ) -> tuple[Tensor, ...]:
        loss, parts, q, cosine = head_forward(joined, negative, number(scale), weight, pairs, decoupled)
        ctx.scale, ctx.pairs, ctx.decoupled = number(scale), pairs, decoupled
        ctx.save_for_backward(joined, negative, weight, q, cosine)
        ctx.mark_non_differentiable(*parts)
        return loss, *parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        joined, negative, weight, q, cosine = ctx.saved_tensors
        slope, logit, counted = head_backward(grad, negative, q, weight, ctx.decoupled)
        grad_scale = (logit * cosine).sum() if ctx.needs_input_grad[2] else None
        grad_weight = None
        if ctx.needs_input_grad[3]:
            grad_weight = (-ctx.scale * counted * cosine).expand_as(negative).sum_to_size(weight.shape)
        return ctx.pairs.backward(joined, logit * ctx.scale), slope, grad_scale, grad_weight, None, None
