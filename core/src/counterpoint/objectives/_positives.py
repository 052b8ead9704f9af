"""Supervised contrast with explicit weights: many positives, weighted candidates, and candidates of one anchor alone.

`SupCon` needs none of these and goes by the kernel. Where pairs have weights of their own, where mixtures exist for one
anchor only, or where each positive is weighted by its probability, whole rows of the similarity matrix are looked at, a
block of rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from counterpoint.objectives._inputs import no_autocast
from counterpoint.objectives._tiles import INF, PairWeight, blocks, row_block
from counterpoint.objectives.gather import gather, rank, world_size

MeanOver = Literal["positives", "candidates"]


class Extra(NamedTuple):
    """K candidates that n anchors have each for itself.

    Attributes:
        logits: ``(n, K)``.
        log_weight: ``(n, K)`` of the denominator; -inf leaves one out.
        positive: ``(n, K)`` as how many positives each counts; 0 is a negative.
    """

    logits: Tensor
    log_weight: Tensor
    positive: Tensor


class Terms(NamedTuple):
    """One number per anchor, ``(N,)`` each.

    Attributes:
        loss: 0 for an anchor without a positive.
        valid: bool, whether it has one.
        cosine: mean cosine of its positives, detached.
        probability: mean probability of its positives, detached.
    """

    loss: Tensor
    valid: Tensor
    cosine: Tensor
    probability: Tensor

    def mean(self) -> Tensor:
        """Mean loss over the anchors of all ranks that have a positive; 0 if none has (reduction ``"gather"``)."""
        count = gather(self.valid.sum().view(1)).sum()
        return self.loss.sum() * world_size() / count.clamp_min(1)

    def parts(self) -> dict[str, Tensor]:
        """What the log wants to know of this rank's positives."""
        count = self.valid.sum().clamp_min(1)
        return {"positive": self.cosine.sum() / count, "p_positive": self.probability.sum() / count}


@dataclass(frozen=True, slots=True)
class WeightedContrast:
    """N anchors among M candidates; the anchors are some of these.

    ::

        l[i, j] = scale * a[i] . c[j]           u[i, j] = l[i, j] - log( sum over k != i of w[i, k] exp l[i, k] )
        L[i] = - 1 / Z[i]  sum over positives j of (1 - exp u[i, j] if focal else 1) u[i, j]

    Attributes:
        anchors: ``(N, D)`` unit rows.
        candidates: ``(M, D)`` unit rows.
        scale: 1 / temperature.
        places: ``(N,)`` int64, where among the candidates the anchors are: none is compared with itself.
        classes: ``(M,)`` int64 classes of the candidates; equal ones are positives.
        log_weight: log weights of the denominator for positions of anchors among the candidates ``(n,)`` and of
            candidates ``(m,)``; None: no weights.
        extra: anchors ``(n, D)`` and their numbers ``(n,)`` -> candidates of these anchors alone.
        extras: how many each has, for the size of a block.
        focal: weight every positive by 1 - its probability.
        mean_over: ``Z``: the anchor's positives, or its columns (M and the extra ones).
    """

    anchors: Tensor
    candidates: Tensor
    scale: float | Tensor
    places: Tensor
    classes: Tensor
    log_weight: PairWeight | None = None
    extra: Callable[[Tensor, Tensor], Extra] | None = None
    extras: int = 0
    focal: bool = False
    mean_over: MeanOver = "positives"

    def terms(self) -> Terms:
        """Losses of all anchors. Memory: ``O(N M)`` for a small batch; beyond, one block, computed twice.

        Cost: one product of ``N x M x D`` forward and two backward (one more where there is more than one block).
        """
        columns = len(self.candidates) + self.extras
        parts = blocks(len(self.anchors), row_block(columns, self.anchors.device))
        numbers = torch.arange(len(self.anchors), device=self.anchors.device)
        with no_autocast(self.anchors):
            if len(parts) == 1:
                return self._block(self.anchors, self.candidates, numbers)
            found = [
                Terms(*checkpoint(self._block, self.anchors[rows], self.candidates, numbers[rows], use_reentrant=False))
                for rows in parts
            ]
        return Terms(*(torch.cat(column) for column in zip(*found)))

    def _block(self, anchors: Tensor, candidates: Tensor, numbers: Tensor) -> Terms:
        """Losses of some anchors."""
        places, columns = self.places[numbers], torch.arange(len(candidates), device=anchors.device)
        own = places[:, None] == columns
        logits = anchors @ candidates.t() * self.scale
        positive = ((self.classes[places, None] == self.classes) & ~own).to(logits.dtype)
        weighted = logits if self.log_weight is None else logits + self.log_weight(places, columns)
        weighted = weighted.masked_fill(own, -INF)
        if self.extra is not None:
            extra = self.extra(anchors, numbers)
            logits = torch.cat([logits, extra.logits], 1)
            weighted = torch.cat([weighted, extra.logits + extra.log_weight], 1)
            positive = torch.cat([positive, extra.positive.to(logits.dtype)], 1)
        log_p = (logits - weighted.logsumexp(1, keepdim=True)).masked_fill(positive == 0, 0.0)
        return self._terms(log_p, logits, positive)

    def _terms(self, log_p: Tensor, logits: Tensor, positive: Tensor) -> Terms:
        count = positive.sum(1)
        some = count.clamp_min(1)
        term = log_p * (1 - log_p.exp()) if self.focal else log_p
        divisor = some if self.mean_over == "positives" else logits.shape[1]
        loss = -torch.linalg.vecdot(term, positive) / divisor
        with torch.no_grad():
            cosine = torch.linalg.vecdot(logits, positive) / (some * self.scale)
            probability = torch.linalg.vecdot(log_p.exp(), positive) / some
        return Terms(loss, count > 0, cosine, probability)


def places_of(size: int, total: int, views: int, device: torch.device) -> Tensor:
    """Where this rank's ``views * size`` rows are among the ``views * total`` of all ranks: int64."""
    start = rank() * size
    everyone = torch.arange(views * total, device=device)
    return everyone.view(views, total)[:, start : start + size].reshape(-1)


def class_numbers(ids: Tensor | None, labels: Tensor | None, total: int, device: torch.device) -> Tensor:
    """``(total,)`` class numbers from 0: known labels, then one for each unlabelled content."""
    content = torch.arange(total, device=device)
    if ids is not None:
        content = torch.unique(ids, return_inverse=True)[1]
    if labels is None:
        return content
    known = labels
    if ids is not None:
        shared = torch.full_like(content, -1).scatter_reduce_(0, content, known, "amax")
        known = torch.where(known < 0, shared[content], known)
    if int(known.max()) >= 4 * total:  # so large that counting by number would waste memory: number them anew
        unknown = known < 0
        known = torch.unique(known, return_inverse=True)[1].masked_fill(unknown, -1)
    return torch.where(known < 0, known.max() + 1 + content, known)
