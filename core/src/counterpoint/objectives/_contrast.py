"""What InfoNCE, NT-Xent and DCL share: from positives and negatives' log-sum-exps to the loss; options; temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, message
from counterpoint.objectives import kernel
from counterpoint.objectives._inputs import check_above
from counterpoint.objectives._rows import Rows, as_scale, check_finite, prepare, summary
from counterpoint.objectives._tiles import number
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.gather import gather

PosWeight = Literal["neg_vmf"]
MAX_SCALE = 100.0  # CLIP's limit on 1 / temperature


@dataclass(frozen=True, slots=True)
class Options:
    """The words that InfoNCE, NT-Xent and DCL have in common; see `info_nce_loss`."""

    symmetric: bool = True
    in_batch: bool = True
    decoupled: bool = False
    pos_weight: PosWeight | None = None
    sigma: float = 0.5
    weight_gradient: bool = False

    def __post_init__(self) -> None:
        check_above("sigma", self.sigma)
        if self.pos_weight not in (None, "neg_vmf"):
            raise ConfigError(message("pos_weight", repr(self.pos_weight), "None or 'neg_vmf'"))

    def pairs(self, views: int) -> list[tuple[int, int]]:
        """Ordered (anchor view, positive view): all of them, or those of view 0."""
        anchors = range(views) if self.symmetric else range(1)
        return [(a, b) for a in anchors for b in range(views) if a != b]


Negatives = Callable[[Rows, "float | Tensor", Options], Tensor]


def contrast(
    embeddings: Sequence[Tensor],
    ids: Tensor | None,
    negatives: Tensor | None,
    negative_ids: Tensor | None,
    temperature: float | Tensor,
    options: Options,
    collect: Negatives,
) -> Result:
    """The loss, given how to collect the negatives: ``collect`` returns their log-sum-exps, ``(ordered pairs, B)``."""
    scale = as_scale(temperature)
    rows = prepare(embeddings, ids, negatives, negative_ids, options.in_batch)
    negative = collect(rows, scale, options)
    similarity = _similarities(rows.views, options)
    positive = similarity * scale
    loss = _per_anchor(similarity, positive, negative, rows, options).mean()
    check_finite(loss, embeddings, negatives)
    return Result(loss, summary(positive, negative, similarity))


def _similarities(views: Sequence[Tensor], options: Options) -> Tensor:
    """Cosine similarity of each positive pair: ``(ordered pairs, B)``, or ``(1, B)`` where one serves all."""
    if len(views) == 2:
        return (views[0] * views[1]).sum(dim=1).unsqueeze(0)
    once: dict[tuple[int, int], Tensor] = {}
    for a, b in options.pairs(len(views)):
        if (b, a) not in once:
            once[a, b] = (views[a] * views[b]).sum(dim=1)
    return torch.stack([once[(a, b) if (a, b) in once else (b, a)] for a, b in options.pairs(len(views))])


def _per_anchor(similarity: Tensor, positive: Tensor, negative: Tensor, rows: Rows, options: Options) -> Tensor:
    """``- w s + log(U)`` decoupled, else ``- w s + log(exp(s) + U)``: ``s`` the positive, ``log U`` the negatives.

    An anchor without any negative (everything else is a duplicate of it) adds nothing.
    """
    if options.decoupled:
        loss = negative - positive
        weighted = loss if options.pos_weight is None else loss + (1.0 - _weights(similarity, options)) * positive
        return weighted if not rows.duplicates else weighted.masked_fill(negative == -math.inf, 0.0)
    # log(exp(s) + U) - s; the threshold keeps the last digit in float64.
    loss = nn.functional.softplus(negative - positive, threshold=50.0)
    return loss if options.pos_weight is None else loss + (1.0 - _weights(similarity, options)) * positive


def _weights(similarity: Tensor, options: Options) -> Tensor:
    """DCLW's weights ``2 - exp(s / sigma) / mean(exp(s / sigma))``, the mean over the samples of all ranks."""
    with torch.set_grad_enabled(options.weight_gradient and torch.is_grad_enabled()):
        # Less its maximum, which cancels, so that a tiny sigma does not overflow.
        top = gather(similarity.detach().t()).amax(dim=0)[:, None]
        power = torch.exp((similarity - top) / options.sigma)
        return 2.0 - power / gather(power.t()).mean(dim=0)[:, None]


def with_queue(rows: Rows, anchors: Tensor, negative: Tensor | None, scale: float | Tensor) -> Tensor:
    """Join the queue's rows to the negatives of ``anchors``: whole views of this process, one below the other."""
    if rows.queue is None:
        if negative is None:
            raise ConfigError(message("negatives", None, "a queue where in_batch=False"))
        return negative
    pairs = None
    if rows.queue_ids is not None:
        pairs = kernel.Pairs(ids=(rows.ids.repeat(len(anchors) // len(rows.ids)), rows.queue_ids))
    queue = kernel.logsumexp(anchors, rows.queue, scale, pairs=pairs, bound=bound(scale))
    return queue if negative is None else torch.logaddexp(negative, queue)


def bound(scale: float | Tensor) -> float:
    """Upper bound on the logits of unit rows."""
    return 1.001 * abs(number(scale))


class Temperature(nn.Module):
    """A fixed temperature, or CLIP's learnable one.

    Args:
        temperature: above 0; learnable: 0.01 or more.
        learnable: learn ``log_scale = log(1 / temperature)``, never above log(100).
    """

    def __init__(self, temperature: float, learnable: bool) -> None:
        super().__init__()
        check_above("temperature", temperature)
        self.fixed = temperature
        self.log_scale: nn.Parameter | None = None
        if learnable:
            if temperature * MAX_SCALE < 1 - 1e-6:
                todo = "Or fix it: learnable_temperature=False."
                raise ConfigError(message("temperature", temperature, "0.01 or more if learnable", todo))
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self) -> float | Tensor:
        """The temperature now. A learnt scale beyond 100 is first set back, so that its gradient never stops."""
        if self.log_scale is None:
            return self.fixed
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        return torch.exp(-self.log_scale)


class Contrast(Objective):
    """Base of the modules InfoNCE, NT-Xent and DCL: one constructor, one call."""

    reduction: ClassVar[Reduction] = "gather"
    _every_view: ClassVar[bool]  # negatives from all views, or from the positive's view only

    def __init__(self, temperature: float, learnable_temperature: bool, options: Options) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable_temperature)
        self.options = options
        self._views = 2
        self._queued = 0

    def _loss(
        self,
        embeddings: Sequence[Tensor],
        ids: Tensor | None,
        negatives: Tensor | None,
        negative_ids: Tensor | None,
        collect: Negatives,
    ) -> Result:
        temperature = self.temperature()
        result = contrast(embeddings, ids, negatives, negative_ids, temperature, self.options, collect)
        self._views, self._queued = len(embeddings), 0 if negatives is None else len(negatives)
        if isinstance(temperature, Tensor):
            result.parts["temperature"] = temperature.detach()
        return result

    def chance(self, batch_size: int) -> float | None:
        """Log of the number of candidates in the denominator, for the views and the queue of the last call.

        Before the first call: two views, no queue. None where there would be no candidate.
        """
        in_batch = (batch_size - 1) * (self._views if self._every_view else 1) if self.options.in_batch else 0
        candidates = in_batch + self._queued + (0 if self.options.decoupled else 1)
        return math.log(candidates) if candidates else None
