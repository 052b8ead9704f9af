"""Contrastive attraction and repulsion: the far positives and the near negatives count most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, message
from counterpoint.objectives import kernel
from counterpoint.objectives._contrast import Options, bound, sides
from counterpoint.objectives._head import EXACT, PairList
from counterpoint.objectives._inputs import check_above, check_at_least, check_choice, check_share, no_autocast
from counterpoint.objectives._rows import Rows, check_finite, prepare
from counterpoint.objectives.base import Objective, Parts, Reduction, Result
from counterpoint.objectives.gather import gather
from counterpoint.objectives.info_nce import cross_negatives

__all__ = ["CACR", "cacr_loss"]

Cost = Literal["euclidean", "rbf", "info_nce"]


@dataclass(frozen=True, slots=True)
class _Settings:
    """The words of `cacr_loss`, checked."""

    t_pos: float
    t_neg: float
    alpha: float
    beta: float
    cost: Cost
    t_cost: float
    detach_weights: bool
    debias: float
    symmetric: bool
    in_batch: bool

    def __post_init__(self) -> None:
        for name in ("t_pos", "t_neg", "alpha", "beta", "t_cost"):
            check_at_least(name, getattr(self, name))
            if math.isinf(getattr(self, name)):
                raise ConfigError(message(name, "infinity", "a finite number"))
        check_above("t_cost", self.t_cost)
        check_choice("cost", self.cost, ("euclidean", "rbf", "info_nce"))
        if self.cost == "info_nce":
            check_above("t_neg", self.t_neg)
        check_share("debias", self.debias, "a number in [0, 1)")
        if self.debias and self.cost != "euclidean":
            raise ConfigError(message("debias", f"{self.debias} with cost={self.cost!r}", "0 there"))

    @property
    def compared(self) -> Options:
        """Who is compared, in InfoNCE's words."""
        return Options(symmetric=self.symmetric, in_batch=self.in_batch)


def cacr_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    t_pos: float = 1.0,
    t_neg: float = 2.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    cost: Cost = "euclidean",
    t_cost: float = 2.0,
    detach_weights: bool = True,
    debias: float = 0.0,
    symmetric: bool = True,
    in_batch: bool = True,
) -> Result:
    """Draw in the positives, the farthest most; push off the negatives, the nearest most.

    With unit rows ``z[v, i]`` of view ``v`` and sample ``i`` and ``d(x, y) = |x - y|^2``, in [0, 4]; ``n`` runs over
    the rows of view ``b`` of samples of other ids, and over the queue::

        attraction[a, i]   = sum over views b != a of p[b] d(z[a, i], z[b, i])    p = softmax over b of + t_pos d
        repulsion[a, b, i] = sum over n of q[n] d(z[a, i], n)                     q = softmax over n of - t_neg d
        L = alpha mean over (a, i) of attraction  -  beta mean over (a, b, i) of repulsion                  "euclidean"

    ``"rbf"`` puts the Gaussian potential in the place of the distance that repels::

        potential[a, b, i] = sum over n of q[n] exp(- t_cost d(z[a, i], n))
        L = alpha mean of attraction  +  beta mean over (a, b) of log mean over i of potential              "rbf"

    ``"info_nce"`` is the release's MoCo v3 form: for each view ``b`` the softmax cross-entropy of finding the sample
    from each other view ``a``, weighted over ``a``; with ``n`` running over the positive as well::

        L = mean over (b, i) of sum over a != b of p[a] (alpha d(z[a, i], z[b, i])
                                                  + beta / t_neg log sum over n of exp(- t_neg d(z[a, i], n)))

    **Variants of the release.** Small scale: ``detach_weights=False``, t_neg 0.9 (CIFAR-10) or 2.0, 5 views; it visits
    each unordered pair of views once, from the first, where we take both orders. MoCo v2: ``symmetric=False,
    in_batch=False`` with a queue (the release also repels the batch's other queries). ImageNet: ``cost="rbf"``. MoCo
    v3: ``cost="info_nce"`` with ``t_pos = 1 / temperature`` and ``t_neg = 1 / (2 temperature)``; for two views it is
    ``2 temperature`` times `info_nce_loss`. Uniform weights (its ablations): ``t_pos=0`` or ``t_neg=0``.

    **Relations.** With weights that learn the slope by a distance is ``p[k] (1 + t (d[k] - mean))``: of the wrong sign
    for positives nearer than ``1 / t`` below the mean, and for negatives farther than that above it. Where there is one
    positive ``t_pos`` has no effect: of two views, and of ``"info_nce"`` with ``symmetric=False``. ``t_pos = t_neg =
    0`` is alignment, and under ``"rbf"`` uniformity, of Wang and Isola. A sharper ``t_neg`` comes to look at the
    nearest negative only.

    **Several processes.** The rows of all ranks are negatives, with gradients (reduction ``"gather"``). The queue is
    each rank's own and is not gathered.

    **Cost.** V views: ``V (V - 1)`` products of ``B x B x D`` forward and as many backward; memory ``O(V B D)``.

    Args:
        embeddings: V views, two or more (paper: 5), each ``(B, D)``, any length: they are normalised here, in float32.
        ids: ``(B,)`` int64 content ids; samples of equal id are never negatives of each other. None: all differ.
        negatives: ``(M, D)`` further negatives, without gradient.
        negative_ids: ``(M,)`` int64 content ids of these.
        t_pos: sharpness of the weights of positives, 0 or more (paper: 1).
        t_neg: sharpness of the weights of negatives, 0 or more (paper: 0.9 to 2).
        alpha: weight of attraction, 0 or more.
        beta: weight of repulsion, 0 or more.
        cost: what repels: ``"euclidean"``, ``"rbf"`` or ``"info_nce"`` (t_neg above 0).
        t_cost: width of the Gaussian of ``"rbf"``, above 0.
        detach_weights: no gradient through the weights, which are then a plan.
        debias: share of the negatives that are of the anchor's class, in [0, 1), ``"euclidean"`` only (release: 0.1):
            the repelling distance becomes ``(repulsion - debias d(positive)) / (1 - debias)``.
        symmetric: every view is the anchor in turn; else only the first.
        in_batch: the batch's other samples are negatives; else only ``negatives`` are.

    Returns:
        loss; parts ``positive`` (mean cosine of positives), ``attraction``, ``repulsion`` (as they stand in the loss,
        without alpha and beta), and ``sharpness_positive``, ``sharpness_negative``: mean sum of the squared weights,
        from 1 / (how many there are) where all count alike to 1 where one takes all.

    Raises:
        ShapeError: inputs that do not fit, no negative at all, or a NaN row (named).
        ConfigError: a setting out of its range.

    Source: Zheng et al. 2023 (arXiv 2105.03746), eqs. 4 to 8, and the released code.
    """
    settings = _Settings(t_pos, t_neg, alpha, beta, cost, t_cost, detach_weights, debias, symmetric, in_batch)
    rows = prepare(embeddings, ids, negatives, negative_ids, in_batch)
    with no_autocast(rows.joined):
        result = _loss(rows, settings)
    check_finite(result.loss, embeddings, negatives)
    return result


def _loss(rows: Rows, settings: _Settings) -> Result:
    pairs = settings.compared.pairs(len(rows.views))
    cosine = PairList.of(len(rows.views), pairs).similarity(rows.joined).expand(len(pairs), -1)
    distance = 2.0 - 2.0 * cosine
    side = 1 if settings.cost == "info_nce" else 0
    weight = _weights(distance, [pair[side] for pair in pairs], settings)
    groups = rows.size * len({pair[side] for pair in pairs})
    attraction = (weight * distance).sum() / groups
    if settings.cost == "euclidean":
        repulsion = _distance(rows, distance, settings)
    elif settings.cost == "rbf":
        repulsion = _potential(rows, settings)
    else:
        margin = cross_negatives(rows, 2.0 * settings.t_neg, settings.compared) - 2.0 * settings.t_neg * cosine
        nearest = F.softplus(margin, threshold=EXACT) / settings.t_neg - distance
        repulsion = (weight * nearest).sum() / groups
    loss = settings.alpha * attraction + settings.beta * repulsion
    told = {"positive": cosine.detach().mean(), "attraction": attraction.detach(), "repulsion": repulsion.detach()}
    told["sharpness_positive"] = weight.detach().square().sum() / groups
    still = _still(rows)
    return Result(loss, Parts(lambda: {**told, "sharpness_negative": _sharpness(still, settings)}))


def _weights(distance: Tensor, group: Sequence[int], settings: _Settings) -> Tensor:
    """Softmax of ``t_pos * distance`` ``(pairs, B)`` over the pairs of each group; ``group``: its number."""
    logits = settings.t_pos * (distance.detach() if settings.detach_weights else distance)
    weight = torch.empty_like(logits)
    for number in dict.fromkeys(group):
        members = [place for place, other in enumerate(group) if other == number]
        weight[members] = logits[members].softmax(0)
    return weight


def _distance(rows: Rows, positive: Tensor, settings: _Settings) -> Tensor:
    """Minus the mean distance of the weighted negatives (debiased); an anchor without negatives adds 0."""
    scale, through = 2.0 * settings.t_neg, not settings.detach_weights
    queues: dict[int, tuple[Tensor, Tensor]] = {}
    found: list[tuple[Tensor, Tensor]] = []
    for a, b in settings.compared.pairs(len(rows.views)):
        parts = []
        if settings.in_batch:
            parts.append(_expected(rows.views[a], rows.everyone[b], scale, _batch_pairs(rows), through))
        if rows.queue is not None:
            if a not in queues:
                queues[a] = _expected(rows.views[a], rows.queue, scale, rows.queue_pairs(), through)
            parts.append(queues[a])
        found.append(parts[0] if len(parts) == 1 else _joined(*parts[0], *parts[1]))
    total, cosine = (torch.stack(values) for values in zip(*found))
    apart = (2.0 - 2.0 * cosine - settings.debias * positive) / (1.0 - settings.debias)
    return -torch.where(total == -math.inf, 0.0, apart).mean()


def _batch_pairs(rows: Rows) -> kernel.Pairs:
    return kernel.Pairs(ids=(rows.keys(), rows.all_keys()))


def _expected(
    anchors: Tensor, candidates: Tensor, scale: float, pairs: kernel.Pairs | None, through: bool
) -> tuple[Tensor, Tensor]:
    """Log-sum-exps and mean cosines ``(B,)``."""
    return kernel.softmax_mean(anchors, candidates, scale, pairs=pairs, held=not through, bound=bound(scale))


def _joined(log_a: Tensor, mean_a: Tensor, log_b: Tensor, mean_b: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and mean of two sets of candidates together."""
    total = torch.logaddexp(log_a, log_b)
    share = torch.sigmoid(torch.where(total == -math.inf, 0.0, log_a - log_b))
    return total, mean_b + share * (mean_a - mean_b)


def _potential(rows: Rows, settings: _Settings) -> Tensor:
    """Log of the mean potential of the weighted negatives, over the anchors of all ranks that have any.

    Both are log-sum-exps: ``sum_n q[n] exp(-t_cost d) = exp(lse at t_neg + t_cost  -  lse at t_neg)``. With the weights
    held its slope by a logit is the softmax at ``t_neg + t_cost`` times ``t_cost``, which is a share of the first's.
    """
    sharp = settings.t_neg + settings.t_cost
    both = cross_negatives(rows, 2.0 * sharp, settings.compared) - 2.0 * sharp
    empty = both == -math.inf
    with torch.set_grad_enabled(torch.is_grad_enabled() and not settings.detach_weights):
        weights = cross_negatives(rows, 2.0 * settings.t_neg, settings.compared) - 2.0 * settings.t_neg
    if settings.detach_weights:
        share = settings.t_cost / sharp
        both = share * both + ((1.0 - share) * both).detach()
    count = gather((~empty).t()).sum(0)
    log = torch.where(empty, -math.inf, both - torch.where(empty, 0.0, weights))
    log = torch.where(count[:, None] == 0, 0.0, log)  # where no anchor has a negative
    mean = gather(log.t()).logsumexp(0) - count.clamp(min=1).to(log.dtype).log()
    return torch.where(count == 0, 0.0, mean).mean()


def _still(rows: Rows) -> Rows:
    """The rows without their gradient."""
    views = [view.detach() for view in rows.views]
    everyone = views if rows.alone else [view.detach() for view in rows.everyone]
    return replace(rows, views=views, everyone=everyone, joined=rows.joined.detach())


@torch.no_grad()
def _sharpness(rows: Rows, settings: _Settings) -> Tensor:
    """Mean over anchors of the sum of the negatives' squared weights: from the log-sum-exps at twice and at once t."""
    once = cross_negatives(rows, 2.0 * settings.t_neg, settings.compared)
    twice = cross_negatives(rows, 4.0 * settings.t_neg, settings.compared)
    squares = torch.exp(twice - 2.0 * once)[once > -math.inf]
    return squares.mean() if squares.numel() else once.new_zeros(())


class CACR(Objective):
    """`cacr_loss` as a module. It wants several views of a sample: vision's views have a setting ``views``.

    Args:
        t_pos: sharpness of the weights of positives, 0 or more.
        t_neg: sharpness of the weights of negatives, 0 or more.
        alpha: weight of attraction, 0 or more.
        beta: weight of repulsion, 0 or more.
        cost: what repels: ``"euclidean"``, ``"rbf"`` or ``"info_nce"``.
        t_cost: width of the Gaussian of ``"rbf"``, above 0.
        detach_weights: no gradient through the weights.
        debias: share of the negatives that are of the anchor's class, in [0, 1), ``"euclidean"`` only.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives; else only the queue's rows are. None: without a queue.

    Raises:
        ConfigError: a setting out of its range.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        t_pos: float = 1.0,
        t_neg: float = 2.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        cost: Cost = "euclidean",
        t_cost: float = 2.0,
        detach_weights: bool = True,
        debias: float = 0.0,
        symmetric: bool | None = None,
        in_batch: bool | None = None,
    ) -> None:
        super().__init__()
        self.symmetric, self.in_batch = symmetric, in_batch
        self.settings = _Settings(t_pos, t_neg, alpha, beta, cost, t_cost, detach_weights, debias, True, True)

    def forward(
        self,
        embeddings: Sequence[Tensor],
        ids: Tensor | None = None,
        negatives: Tensor | None = None,
        negative_ids: Tensor | None = None,
    ) -> Result:
        """See `cacr_loss`."""
        settings = replace(self.settings, **sides(self.symmetric, self.in_batch, negatives))
        result = cacr_loss(embeddings, ids, negatives, negative_ids, **asdict(settings))
        self._notice(embeddings, negatives)
        return result

    def chance(self, batch_size: int) -> float | None:
        """For ``"info_nce"`` the loss of a constant encoder; the others have no level that a loss could be held to."""
        settings, queued = self.settings, self._seen[1]
        in_batch = self.in_batch if self.in_batch is not None else not queued
        candidates = (batch_size - 1 if in_batch else 0) + queued
        if settings.cost != "info_nce" or not candidates or not settings.beta:
            return None
        return settings.beta / settings.t_neg * math.log(1 + candidates)
