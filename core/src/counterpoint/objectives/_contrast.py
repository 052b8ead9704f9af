"""What InfoNCE and its kin share: from positives and negatives' log-sum-exps to the loss; options; temperature."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, message
from counterpoint.objectives import kernel
from counterpoint.objectives._head import Head, PairList
from counterpoint.objectives._inputs import check_above, check_share, check_temperature, no_autocast
from counterpoint.objectives._logsumexp import FAST
from counterpoint.objectives._rows import Rows, as_scale, check_finite, prepare, small
from counterpoint.objectives._small import cross_contrast, joint_contrast, small_step, smoothed
from counterpoint.objectives._smoothing import smoothing_gap
from counterpoint.objectives._tiles import number
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.gather import gather

PARTS = ("positive", "p_positive", "q_mean", "q_std")
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
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_above("sigma", self.sigma)
        check_share("label_smoothing", self.label_smoothing, "a number in [0, 1)")
        if self.label_smoothing and (self.decoupled or self.pos_weight is not None):
            found = f"{self.label_smoothing} and {'decoupled' if self.decoupled else 'pos_weight'}"
            raise ConfigError(message("label_smoothing", found, "0 there: what remains is no cross-entropy"))
        if self.pos_weight not in (None, "neg_vmf"):
            raise ConfigError(message("pos_weight", repr(self.pos_weight), "None or 'neg_vmf'"))

    def pairs(self, views: int) -> list[tuple[int, int]]:
        """Ordered (anchor view, positive view): all of them, or those of view 0."""
        anchors = range(views) if self.symmetric else range(1)
        return [(a, b) for a in anchors for b in range(views) if a != b]


class Sides(TypedDict):
    """Who is compared, of `Options`."""

    symmetric: bool
    in_batch: bool


def sides(symmetric: bool | None, in_batch: bool | None, negatives: Tensor | None) -> Sides:
    """None stands for MoCo's way where there is a queue (one side, the queue alone), and for SimCLR's where not."""
    alone = negatives is None
    return Sides(symmetric=alone if symmetric is None else symmetric, in_batch=alone if in_batch is None else in_batch)


Negatives = Callable[[Rows, "float | Tensor", Options], Tensor]


def contrast(
    embeddings: Sequence[Tensor],
    ids: Tensor | None,
    negatives: Tensor | None,
    negative_ids: Tensor | None,
    temperature: float | Tensor,
    options: Options,
    collect: Negatives,
    cross: bool | None,
) -> Result:
    """The loss of any of them.

    Args:
        embeddings: views, see `info_nce_loss`; likewise ids, negatives, negative_ids, temperature.
        ids: content ids.
        negatives: a queue's rows.
        negative_ids: their content ids.
        temperature: above 0.
        options: the rest.
        collect: how to sum over the negatives: returns their log-sum-exps, ``(ordered pairs, B)``.
        cross: whether they come from the positive's view only; `collect` knows that by itself, the short way does not.
            None: there is no short way.
    """
    scale = as_scale(temperature)
    result = None
    if cross is not None and negatives is None and negative_ids is None and len(embeddings) == 2:
        result = _small_step(embeddings, ids, scale, options, cross)
    if result is None:
        rows = prepare(embeddings, ids, negatives, negative_ids, options.in_batch)
        negative = collect(rows, scale, options)
        pairs = PairList.of(len(rows.views), options.pairs(len(rows.views)))
        weight = None if options.pos_weight is None else _weights(rows, pairs, options)
        loss, *parts = kernel.apply(Head, rows.joined, negative, scale, weight, pairs, options.decoupled)
        if options.label_smoothing:
            gap = smoothing_gap(rows, scale, options.pairs(len(rows.views)), options.in_batch)
            loss = loss + options.label_smoothing * gap
        result = Result(loss, dict(zip(PARTS, parts)))
    check_finite(result.loss, embeddings, negatives)
    return result


def _small_step(
    embeddings: Sequence[Tensor], ids: Tensor | None, scale: float | Tensor, options: Options, cross: bool
) -> Result | None:
    """The short way, or None where it does not apply."""
    plain = options.symmetric and options.in_batch and options.pos_weight is None
    if not plain or not small(embeddings, ids, 1 if cross else 2):
        return None
    if not exponentiable(embeddings[0], scale):
        return None
    formula = (cross_contrast if cross else joint_contrast)(ids, options.decoupled)
    if options.label_smoothing:
        if ids is not None and len(torch.unique(ids)) < len(ids):
            return None
        formula = smoothed(formula, options.label_smoothing)
    return small_step(embeddings, scale, 0.0, formula, PARTS)


def _weights(rows: Rows, pairs: PairList, options: Options) -> Tensor:
    """DCLW's weights ``2 - exp(s / sigma) / mean(exp(s / sigma))``, the mean over the samples of all ranks."""
    with torch.set_grad_enabled(options.weight_gradient and torch.is_grad_enabled()), no_autocast(rows.joined):
        cosine = pairs.similarity(rows.joined)
        # Less its maximum, which cancels, so that a tiny sigma does not overflow.
        top = gather(cosine.detach().t()).amax(dim=0)[:, None]
        power = torch.exp((cosine - top) / options.sigma)
        return 2.0 - power / gather(power.t()).mean(dim=0)[:, None]


def with_queue(rows: Rows, anchors: Tensor, negative: Tensor | None, scale: float | Tensor) -> Tensor:
    """Join the queue's rows to the negatives of ``anchors``: whole views of this process, one below the other."""
    if rows.queue is None:
        if negative is None:
            raise ConfigError(message("negatives", None, "a queue where in_batch=False"))
        return negative
    pairs = rows.queue_pairs(len(anchors) // rows.size)
    queue = kernel.logsumexp(anchors, rows.queue, scale, pairs=pairs, bound=bound(scale))
    return queue if negative is None else join([negative, queue])


def join(sums: Sequence[Tensor]) -> Tensor:
    """Log-sum-exp over log-sum-exps of one shape; where all are empty (-inf), so is it, and it takes no gradient.

    (Torch's own functions have a gradient there that is no number.)
    """
    if len(sums) == 1:
        return sums[0]
    stacked = torch.stack(list(sums))
    top = stacked.detach().amax(dim=0)
    empty = top == -math.inf
    total = (stacked - top.masked_fill(empty, 0.0)).exp().sum(dim=0)
    return (total.masked_fill(empty, 1.0).log() + top).masked_fill(empty, -math.inf)


def bound(scale: float | Tensor) -> float:
    """Upper bound on the logits of unit rows."""
    return 1.001 * abs(number(scale))


def exponentiable(rows: Tensor, scale: float | Tensor) -> bool:
    """Whether plain exponentials of the logits of unit ``rows`` neither overflow nor lose digits."""
    return bound(scale) <= FAST[torch.float64 if rows.dtype == torch.float64 else torch.float32]


class Temperature(nn.Module):
    """A fixed temperature, or CLIP's learnable one.

    Args:
        temperature: above 0; learnable: 0.01 or more.
        learnable: learn ``log_scale = log(1 / temperature)``, never above log(100).
    """

    def __init__(self, temperature: float, learnable: bool) -> None:
        super().__init__()
        check_temperature(temperature)
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
    """Base of the modules InfoNCE, NT-Xent and DCL: one constructor, one call.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives; else only the queue's rows are. None: without a queue.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below (CLIP).
        decoupled: drop the positive from the denominator.
        pos_weight: None or ``"neg_vmf"`` (DCLW).
        sigma: width of that weight, above 0.
        weight_gradient: let the gradient flow through the weight.

    Raises:
        ConfigError: a setting out of its range.
    """

    reduction: ClassVar[Reduction] = "gather"
    _every_view: ClassVar[bool]  # negatives from all views, or from the positive's view only

    @staticmethod
    @abstractmethod
    def _collect(rows: Rows, scale: float | Tensor, options: Options) -> Tensor:
        """Log-sum-exps of the negatives, ``(ordered pairs, B)``."""

    def __init__(
        self,
        temperature: float = 0.1,
        symmetric: bool | None = None,
        in_batch: bool | None = None,
        learnable_temperature: bool = False,
        decoupled: bool = False,
        pos_weight: PosWeight | None = None,
        sigma: float = 0.5,
        weight_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable_temperature)
        self.symmetric, self.in_batch = symmetric, in_batch
        self.options = Options(decoupled=decoupled, pos_weight=pos_weight, sigma=sigma, weight_gradient=weight_gradient)

    def forward(
        self,
        embeddings: Sequence[Tensor],
        ids: Tensor | None = None,
        negatives: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Result:
        """See `info_nce_loss`."""
        temperature, cross = self.temperature(), not self._every_view
        options = replace(self.options, **sides(self.symmetric, self.in_batch, negatives))
        result = contrast(embeddings, ids, negatives, negative_ids, temperature, options, self._collect, cross)
        self._notice(embeddings, negatives)
        if isinstance(temperature, Tensor):
            result.parts["temperature"] = temperature.detach()
        return result

    def chance(self, batch_size: int) -> float | None:
        """Log of the number of candidates in the denominator, for the views and the queue of the last call.

        Before the first call: two views, no queue. None where there would be no candidate.
        """
        views, queued = self._seen
        inside = self.in_batch if self.in_batch is not None else not queued
        in_batch = (batch_size - 1) * (views if self._every_view else 1) if inside else 0
        candidates = in_batch + queued + (0 if self.options.decoupled else 1)
        return math.log(candidates) if candidates else None
