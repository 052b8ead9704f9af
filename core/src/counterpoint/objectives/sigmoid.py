"""The sigmoid loss: each pair by itself is a positive or a negative."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from counterpoint.objectives import kernel
from counterpoint.objectives._contrast import Temperature
from counterpoint.objectives._rows import Rows, as_scale, check_finite, prepare, small
from counterpoint.objectives._small import pairwise_sigmoid, small_step
from counterpoint.objectives.base import Objective, Reduction, Result

__all__ = ["Sigmoid", "sigmoid_loss"]

PARTS = ("positive", "p_positive")


def sigmoid_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    bias: float | Tensor = -10.0,
) -> Result:
    """Say of each pair alone whether it belongs together.

    With unit rows ``z[v, i]`` and ``l(x, y) = x . y / temperature + bias``::

        L[a, b] = 1/B sum over i of [ softplus(-l(z[a, i], z[b, i]))
                                      + sum over samples j of other ids of softplus(l(z[a, i], z[b, j]))
                                      + sum over the queue of softplus(l(z[a, i], n)) ]
        L = mean over pairs a < b of views

    **Relations.** Unlike the softmax of `info_nce_loss` no pair depends on another, so that the gradient is computed on
    the way forward; the loss is of the order of ``log B``, not bounded by it.

    **Several processes.** The rows of all ranks are candidates, with gradients (reduction ``"gather"``). The queue is
    each rank's own and is not gathered.

    **Cost.** Three products of ``B x B x D``; memory ``O(B D)``.

    Args:
        embeddings: two or more views, each ``(B, D)``, any length: they are normalised here, in float32.
        ids: ``(B,)`` int64 content ids; samples of equal id are never negatives of each other. None: all differ.
        negatives: ``(M, D)`` further negatives of the first view of each pair, without gradient.
        negative_ids: ``(M,)`` int64 content ids of these.
        temperature: above 0; a scalar tensor takes its gradient.
        bias: added to every logit; a scalar tensor takes its gradient.

    Returns:
        loss; parts ``positive`` (mean cosine of positives) and ``p_positive`` (their mean probability).

    Raises:
        ShapeError: inputs that do not fit, no negative at all, or a NaN row (named).
        ConfigError: a temperature that is not above 0.

    Source: Zhai et al. 2023 (arXiv 2303.15343), eq. 1.
    """
    scale = as_scale(temperature)
    if negatives is None and negative_ids is None and small(embeddings, ids, 1):
        result = small_step(embeddings, scale, bias, pairwise_sigmoid(ids), PARTS)
        check_finite(result.loss, embeddings, None)
        return result
    rows = prepare(embeddings, ids, negatives, negative_ids)
    choices = list(itertools.combinations(range(len(rows.views)), 2))
    similarity = torch.stack([(rows.views[a] * rows.views[b]).sum(dim=1) for a, b in choices])
    logits = similarity * scale + bias
    total = nn.functional.softplus(-logits, threshold=50.0).sum()
    for a, b in choices:
        total = total + _negatives(rows, a, b, scale, bias)
    loss = total / (len(choices) * rows.size)
    check_finite(loss, embeddings, negatives)
    parts = (similarity.detach().mean(), torch.sigmoid(logits.detach()).mean())
    return Result(loss, dict(zip(PARTS, parts)))


def _negatives(rows: Rows, a: int, b: int, scale: float | Tensor, bias: float | Tensor) -> Tensor:
    pairs = kernel.Pairs(ids=(rows.keys(), rows.all_keys()))
    found = kernel.softplus_sum(rows.views[a], rows.everyone[b], scale, bias, pairs=pairs)
    if rows.queue is None:
        return found
    return found + kernel.softplus_sum(rows.views[a], rows.queue, scale, bias, pairs=rows.queue_pairs())


class Sigmoid(Objective):
    """`sigmoid_loss` as a module, with the temperature and the bias learnable as in SigLIP.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        bias: added to every logit; SigLIP starts at -10, so that all pairs begin as negatives.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.
        learnable_bias: learn the bias.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = -10.0,
        learnable_temperature: bool = True,
        learnable_bias: bool = True,
    ) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable_temperature)
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable_bias)

    def forward(
        self,
        embeddings: Sequence[Tensor],
        ids: Tensor | None = None,
        negatives: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Result:
        """See `sigmoid_loss`."""
        temperature = self.temperature()
        result = sigmoid_loss(embeddings, ids, negatives, negative_ids, temperature=temperature, bias=self.bias)
        self._notice(embeddings, negatives)
        if isinstance(temperature, Tensor):
            result.parts["temperature"] = temperature.detach()
        result.parts["bias"] = self.bias.detach().clone()
        return result

    def chance(self, batch_size: int) -> float | None:
        """The least loss that one constant logit reaches: ``log n + (n - 1) log(n / (n - 1))`` for n candidates.

        n counts the batch and the queue of the last call (none before it).
        """
        n = batch_size + self._seen[1]
        return math.log(n) + (n - 1) * math.log(n / (n - 1)) if n > 1 else None
