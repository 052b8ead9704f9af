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

EXACT = 50.0  # from here on log(1 + e^x) is x to the last digit of a float64


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
    """What the head finds.

    Attributes:
        loss: the mean over anchors.
        margin: negatives' log-sum-exp less the positive's logit, by anchor.
        q: sigmoid of that: 1 - probability of the positive.
        slope: derivative of each anchor's term by its negatives' log-sum-exp, before the mean.
    """

    loss: Tensor
    margin: Tensor
    q: Tensor
    slope: Tensor


def head_value(cosine: Tensor, negative: Tensor, scale: float, decoupled: bool, weight: Tensor | None = None) -> Values:
    """See `Head`."""
    margin = torch.sub(negative, cosine, alpha=scale)
    q = torch.sigmoid(margin)
    value, slope = margin, q
    if not decoupled:
        value = F.softplus(margin, threshold=EXACT)
    if weight is not None:
        value = value + (1.0 - weight) * (cosine * scale)
    if decoupled:
        empty = negative == -math.inf
        value, slope = torch.where(empty, 0.0, value), torch.ones_like(q).masked_fill_(empty, 0.0)
    return Values(value.mean(), margin, q, slope)


def head_parts(cosine: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means of cosine, ``1 - q`` and ``q``, and the standard deviation of ``q``."""
    spread, mean = torch.std_mean(q, correction=0)
    return cosine.mean(), 1.0 - mean, mean, spread


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
        cosine = pairs.similarity(joined)
        loss, _, q, slope = head_value(cosine, negative, number(scale), decoupled, weight)
        parts = head_parts(cosine, q)
        ctx.scale, ctx.pairs, ctx.decoupled = number(scale), pairs, decoupled
        ctx.save_for_backward(joined, cosine, slope, weight)
        ctx.mark_non_differentiable(*parts)
        return loss, *parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        joined, cosine, slope, weight = ctx.saved_tensors
        share = grad / slope.numel()
        counted = slope * share if ctx.decoupled else share.expand_as(slope)  # an anchor without negatives is left out
        slope = slope * share
        logit = -slope if weight is None else (1.0 - weight) * counted - slope
        grad_scale = (logit * cosine).sum() if ctx.needs_input_grad[2] else None
        grad_weight = None
        if ctx.needs_input_grad[3]:
            grad_weight = (-ctx.scale * counted * cosine).sum_to_size(weight.shape)
        return ctx.pairs.backward(joined, logit * ctx.scale), slope, grad_scale, grad_weight, None, None
