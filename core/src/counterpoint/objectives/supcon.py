"""Supervised contrastive learning: every sample of the same class is a positive."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from counterpoint.objectives import kernel
from counterpoint.objectives._contrast import Temperature, bound, exponentiable
from counterpoint.objectives._positives import class_numbers
from counterpoint.objectives._rows import Rows, as_scale, check, check_finite, check_ids, prepare, small
from counterpoint.objectives._small import class_contrast, small_step
from counterpoint.objectives.base import Objective, Parts, Reduction, Result
from counterpoint.objectives.gather import gather
from counterpoint.objectives.nt_xent import nt_xent_loss

__all__ = ["SupCon", "sup_con_loss"]

PARTS = ("positive", "p_positive")


def sup_con_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    *,
    labels: Tensor | None = None,
    temperature: float | Tensor = 0.1,
) -> Result:
    """Bring rows of one class together: the "out" form.

    With unit rows ``z[r]`` of all views of all samples, ``P(r)`` the other rows of ``r``'s class and
    ``s(x, y) = x . y / temperature``::

        L[r] = - mean over p in P(r) of s(z[r], z[p])  +  log( sum over all rows a != r of exp s(z[r], z[a])  +  queue )
        L = mean over rows r

    A sample whose label is unknown is a class of its own, made of its views. Samples of equal content id are one
    class too, that of whichever of them has a label (two known labels that differ are believed).

    **Relations.** Two views and no labels: `nt_xent_loss`. The mean over positives stands outside the logarithm (the
    better form in the paper); all positives stay in the denominator.

    **Several processes.** The rows of all ranks are candidates and positives, with gradients (reduction ``"gather"``).
    The queue is each rank's own and is not gathered.

    **Cost.** As `nt_xent_loss`; the positives cost ``O(V B D)``, whatever their number, since their mean logit is the
    logit of their mean.

    Args:
        embeddings: V views, two or more, each ``(B, D)``, any length: they are normalised here, in float32.
        ids: ``(B,)`` int64 content ids, or None: all differ.
        negatives: ``(M, D)`` further negatives, without gradient.
        labels: ``(B,)`` int64 classes, -1 for unknown; None: all unknown.
        temperature: above 0, usually 0.05 to 0.5; a scalar tensor takes its gradient.

    Returns:
        loss; parts ``positive`` (mean cosine of positives) and ``p_positive`` (mean probability of the other views of
        the row's own sample).

    Raises:
        ShapeError: inputs that do not fit, or a NaN row (named).
        ConfigError: a temperature that is not above 0.

    Source: Khosla et al. 2020 (arXiv 2004.11362), eq. 2.
    """
    if labels is None and ids is None and len(embeddings) == 2:
        unsupervised = nt_xent_loss(embeddings, None, negatives, temperature=temperature)
        return Result(unsupervised.loss, Parts(lambda: {name: unsupervised.parts[name] for name in PARTS}))
    scale = as_scale(temperature)
    check(embeddings, ids, negatives, None)
    check_ids("labels", labels, len(embeddings[0]))
    result = _small_step(embeddings, ids, labels, scale) if negatives is None else None
    if result is None:
        result = _general(prepare(embeddings, ids, negatives, None), labels, scale)
    check_finite(result.loss, embeddings, negatives)
    return result


def _small_step(
    embeddings: Sequence[Tensor], ids: Tensor | None, labels: Tensor | None, scale: float | Tensor
) -> Result | None:
    """The short way, or None where it does not apply."""
    if len(embeddings) != 2 or not small(embeddings, ids, 2) or not exponentiable(embeddings[0], scale):
        return None
    if ids is None and labels is not None:
        same = ((labels[:, None] == labels) & (labels >= 0)).fill_diagonal_(True)
    else:
        classes = class_numbers(ids, labels, len(embeddings[0]), embeddings[0].device)
        same = classes[:, None] == classes
    return small_step(embeddings, scale, 0.0, class_contrast(same), PARTS)


def _general(rows: Rows, labels: Tensor | None, scale: float | Tensor) -> Result:
    """Any number of views, samples and processes; with a queue."""
    views = len(rows.views)
    everyone = rows.joined if rows.alone else torch.cat(list(rows.everyone))
    known = labels if labels is None or rows.alone else gather(labels)
    classes = class_numbers(rows.all_ids, known, rows.total, everyone.device)
    positive = _mean_positive(rows, everyone, classes)
    denominator = _denominator(rows, everyone, scale)
    loss = denominator.mean() - positive * scale
    with torch.no_grad():
        denominator = denominator.view(views, -1)
        pairs = itertools.permutations(rows.views, 2)
        own = [torch.linalg.vecdot(a, b) * scale for a, b in pairs]
        probability = torch.exp(torch.stack(own).view(views, views - 1, -1) - denominator[:, None]).mean()
    return Result(loss, dict(zip(PARTS, (positive.detach(), probability))))


def _mean_positive(rows: Rows, everyone: Tensor, classes: Tensor) -> Tensor:
    """Mean over this process's rows of their mean cosine with the other rows of their class: a scalar.

    Summed by class, for ``sum over i in c of z[i] . (T[c] - z[i]) = T'[c] . T[c] - sum of |z[i]|^2`` with ``T`` the sum
    of everybody's rows of a class and ``T'`` that of this process's: nothing of the batch's size is kept.
    """
    views = len(rows.views)
    number, mine = classes.repeat(views), classes[rows.start : rows.start + rows.size].repeat(views)
    size = int(classes.max()) + 1
    count = torch.bincount(number, minlength=size)
    total = everyone.new_zeros(size, everyone.shape[1]).index_add(0, number, everyone)
    own = total if rows.alone else torch.zeros_like(total).index_add(0, mine, rows.joined)
    rigid = rows.joined.detach()  # a unit row's length (1, or 0) has no gradient
    lengths = torch.linalg.vecdot(rigid, rigid)
    alone = lengths.new_zeros(size).index_add(0, mine, lengths)
    by_class: Tensor = (torch.linalg.vecdot(own, total) - alone) / (count - 1)
    return by_class.sum() / len(rows.joined)


def _denominator(rows: Rows, everyone: Tensor, scale: float | Tensor) -> Tensor:
    """Log-sum-exp over all rows but the anchor itself, and the queue: ``(V * B,)``."""
    total = len(everyone)
    if rows.alone:
        pairs = kernel.Pairs(rows=(kernel.Cycle(0, total), kernel.Cycle(0, total)))
        found = kernel.logsumexp(rows.joined, None, scale, pairs=pairs, count="all", bound=bound(scale))
    else:
        number = torch.arange(total, device=everyone.device)
        mine = number.view(-1, rows.total)[:, rows.start : rows.start + rows.size].reshape(-1)
        pairs = kernel.Pairs(rows=(mine, number))
        found = kernel.logsumexp(rows.joined, everyone, scale, pairs=pairs, count="all", bound=bound(scale))
    if rows.queue is None:
        return found
    return torch.logaddexp(found, kernel.logsumexp(rows.joined, rows.queue, scale, bound=bound(scale)))


class SupCon(Objective):
    """`sup_con_loss` as a module.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(self, temperature: float = 0.1, learnable_temperature: bool = False) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable_temperature)

    def forward(
        self,
        embeddings: Sequence[Tensor],
        ids: Tensor | None = None,
        negatives: Tensor | None = None,
        *,
        labels: Tensor | None = None,
    ) -> Result:
        """See `sup_con_loss`."""
        temperature = self.temperature()
        result = sup_con_loss(embeddings, ids, negatives, labels=labels, temperature=temperature)
        self._notice(embeddings, negatives)
        if isinstance(temperature, Tensor):
            result.parts["temperature"] = temperature.detach()
        return result

    def chance(self, batch_size: int) -> float | None:
        """Log of the number of other rows, for the views and the queue of the last call (two and none before it)."""
        views, queued = self._seen
        return math.log(batch_size * views - 1 + queued)
