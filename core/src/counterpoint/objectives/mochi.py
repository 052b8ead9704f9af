"""MoCHi: InfoNCE with synthetic negatives, mixed from the hardest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from counterpoint.errors import ConfigError, message
from counterpoint.objectives import kernel, mixing
from counterpoint.objectives._contrast import Options, bound, contrast, join, sides
from counterpoint.objectives._hardened import Hardened
from counterpoint.objectives._inputs import check_count, is_number, no_autocast
from counterpoint.objectives._logsumexp import LOG2E
from counterpoint.objectives._rows import Rows
from counterpoint.objectives._tiles import INF, blocks, number, row_block
from counterpoint.objectives._unit import inverse_length
from counterpoint.objectives.base import Result
from counterpoint.objectives.info_nce import info_nce_loss
from counterpoint.objectives.mining import largest

__all__ = ["MoCHi", "mochi_loss"]


def mochi_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.2,
    hardest: int | None = None,
    mixed: int = 128,
    query_mixed: int = 32,
    query_share: float = 0.5,
    symmetric: bool | None = None,
    in_batch: bool | None = None,
) -> Result:
    """InfoNCE whose negatives are joined by mixtures of each anchor's hardest ones.

    With unit rows, an anchor q, its N most similar negatives ``n_1 .. n_N`` (``hardest``), uniform draws of i != j and
    a from [0, 1), b from [0, ``query_share``), anew for every anchor and mixture::

        h  = normalise(a n_i + (1 - a) n_j)              ``mixed`` of them
        h' = normalise(b q + (1 - b) n_j)                ``query_mixed`` of them: always harder than n_j
        U  = sum over the negatives of exp s(q, n)  +  sum over h of exp s(q, h)  +  sum over h' of exp s(q, h')
        L  = - s(q, k) + log(exp s(q, k) + U)            s = cosine / temperature, k: the positive

    Mixtures are constants: the gradient reaches q by the outer product alone. A negative of the anchor's own content id
    is neither compared nor mined, so that a queue's older keys of the anchor do not become "hardest".

    **Relations.** `info_nce_loss` with more negatives: never below it, and bit for bit the same where ``mixed`` and
    ``query_mixed`` are 0. With few classes the hardest negatives are mostly of the anchor's own class: keep
    ``hardest`` well below the queue's share of a class.

    **Several processes.** As `info_nce_loss`; each draws its own mixtures for its own anchors.

    **Cost.** That of `info_nce_loss`, and per anchor the ranking of its scores and ``(mixed + query_mixed) x D``;
    memory ``O(B (D + hardest + mixed + query_mixed))`` and one block.

    Args:
        embeddings: as in `info_nce_loss`; with a queue ``([query, key])``.
        ids: ``(B,)`` int64 content ids.
        negatives: ``(M, D)`` a queue's rows, without gradient.
        negative_ids: ``(M,)`` int64 content ids of these.
        temperature: above 0, usually 0.1 to 0.2; a scalar tensor takes its gradient.
        hardest: negatives per anchor that are mixed (paper: 128 to 1024); of fewer candidates, all. None: 128, or an
            eighth of the candidates where these are few: the hardest of many are hard, all of few are not.
        mixed: mixtures of two of them per anchor (paper: 128 to 1024).
        query_mixed: mixtures of one of them with the anchor itself (paper: 0 to 512).
        query_share: bound on the anchor's share in those, above 0 and at most 0.5, so that the negative's is larger.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives, and may be mined. None: only where there is no queue.

    Returns:
        loss; the parts of `info_nce_loss`, ``negative_hardest`` (mean cosine of what was mined) and ``negative_mixed``
        (of the mixtures).

    Raises:
        ShapeError: inputs that do not fit, no negative at all, or a NaN row (named).
        ConfigError: a setting out of its range.

    Source: Kalantidis et al. 2020 (arXiv 2010.01028), eqs. 3 to 5.
    """
    recipe = Recipe(hardest, mixed, query_mixed, query_share)
    options = Options(**sides(symmetric, in_batch, negatives))
    if not recipe.makes:
        return info_nce_loss(
            embeddings,
            ids,
            negatives,
            negative_ids,
            temperature=temperature,
            symmetric=options.symmetric,
            in_batch=options.in_batch,
        )
    collect = _Collect(recipe)
    result = contrast(embeddings, ids, negatives, negative_ids, temperature, options, collect, cross=None)
    result.parts.update(collect.parts())
    return result


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is mixed; see `mochi_loss`."""

    hardest: int | None
    mixed: int
    query_mixed: int
    query_share: float

    def __post_init__(self) -> None:
        if self.hardest is not None:
            check_count("hardest", self.hardest, 1)
        check_count("mixed", self.mixed, 0)
        check_count("query_mixed", self.query_mixed, 0)
        if not is_number(self.query_share) or not 0 < self.query_share <= 0.5:
            todo = "Beyond a half the mixture is more the anchor than a negative."
            raise ConfigError(message("query_share", self.query_share, "a number in (0, 0.5]", todo))

    def mines(self, candidates: int) -> int:
        """How many of so many candidates are hard."""
        return min(self.hardest or min(128, max(1, candidates // 8)), candidates)

    @property
    def makes(self) -> int:
        """Mixtures per anchor."""
        return self.mixed + self.query_mixed


class Hard(NamedTuple):
    """The hardest negatives of each anchor, in any order.

    Attributes:
        pool: ``(M, D)`` unit rows without gradient.
        places: ``(B, N)`` int64, rows of the pool.
        cosines: ``(B, N)``; -inf at the end where an anchor has no more negatives.
    """

    pool: Tensor
    places: Tensor
    cosines: Tensor


@dataclass(slots=True)
class _Collect:
    """Log-sum-exps of the negatives and the mixtures, ``(ordered pairs, B)``; keeps what the parts are made of."""

    recipe: Recipe
    mined: list[Tensor] = field(default_factory=list)
    made: list[Tensor] = field(default_factory=list)

    def __call__(self, rows: Rows, scale: float | Tensor, options: Options) -> Tensor:
        inside = rows.total if options.in_batch else 0
        hardest = self.recipe.mines(inside + (0 if rows.queue is None else len(rows.queue)))
        pairs, queued = options.pairs(len(rows.views)), {}
        if rows.queue is not None:  # older than all views: an anchor is compared with it once, whatever its positive
            compared = rows.queue_pairs()
            queued = {a: self._mine(rows.views[a], rows.queue, compared, scale, hardest) for a, _ in pairs}
        found = []
        for a, b in pairs:
            pools = [queued[a]] if queued else []
            if options.in_batch:
                compared = kernel.Pairs(ids=(rows.keys(), rows.all_keys()))
                pools.insert(0, self._mine(rows.views[a], rows.everyone[b], compared, scale, hardest))
            found.append(self._with_mixtures(rows.views[a], pools, scale, hardest))
        return torch.stack(found)

    def _mine(
        self, anchors: Tensor, candidates: Tensor, pairs: kernel.Pairs | None, scale: float | Tensor, hardest: int
    ) -> _Pool:
        miner = _Miner(anchors, min(hardest, len(candidates)))
        found = kernel.logsumexp(anchors, candidates, scale, pairs=pairs, bound=bound(scale), watch=miner)
        return _Pool(candidates.detach().to(anchors.dtype), found, miner)

    def _with_mixtures(self, anchors: Tensor, pools: list[_Pool], scale: float | Tensor, hardest: int) -> Tensor:
        hard = _join([pool.rows for pool in pools], [pool.miner for pool in pools], number(scale), hardest)
        mixtures, cosines = mixed_logsumexp(anchors, hard, scale, self.recipe)
        self.mined.append(hard.cosines)
        self.made.append(cosines)
        return join([*(pool.found for pool in pools), mixtures])

    def parts(self) -> dict[str, Tensor]:
        return {"negative_hardest": _mean(self.mined), "negative_mixed": _mean(self.made)}


def _mean(cosines: Sequence[Tensor]) -> Tensor:
    """Over what there is; 0 where there is nothing."""
    joined = torch.cat([c.flatten() for c in cosines])
    known = joined != -INF
    return joined.masked_fill(~known, 0.0).sum() / known.sum().clamp(min=1)


class _Miner:
    """Watches the kernel's blocks and keeps the largest scores of each row."""

    def __init__(self, anchors: Tensor, count: int) -> None:
        self.scores = anchors.new_empty(len(anchors), count)
        self.places = torch.empty(len(anchors), count, dtype=torch.int64, device=anchors.device)

    def __call__(self, block: Tensor, rows: slice) -> None:
        self.scores[rows], self.places[rows] = largest(block, self.scores.shape[1], ordered=False)


class _Pool(NamedTuple):
    """Candidates ``(M, D)`` without gradient, the anchors' log-sum-exps over them, and their hardest."""

    rows: Tensor
    found: Tensor
    miner: _Miner


def _join(pools: Sequence[Tensor], miners: Sequence[_Miner], scale: float, count: int) -> Hard:
    """The hardest of one pool or of two."""
    pool, scores, places = pools[0], miners[0].scores, miners[0].places
    if len(pools) > 1:
        pool = torch.cat(list(pools))
        scores = torch.cat([scores, miners[1].scores], dim=1)
        places = torch.cat([places, miners[1].places + len(pools[0])], dim=1)
    if len(pools) > 1 or bool((scores == -INF).any()):  # what is missing comes last
        scores, order = scores.topk(min(count, scores.shape[1]), dim=1)
        places = places.gather(1, order)
    return Hard(pool, places, scores / (scale * LOG2E))


def mixed_logsumexp(anchors: Tensor, hard: Hard, scale: float | Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Log-sum-exp ``(B,)`` over the mixtures of unit ``anchors``, and their cosines ``(B, mixed + query_mixed)``.

    Both are -inf for an anchor that has nothing to mix. Mixtures take no gradient, so that all the backward pass needs
    of them is their softmax-weighted mean; and their cosines follow from those of their parents, so that a mixture is
    written down (in blocks) for its length alone.
    """
    with torch.no_grad(), no_autocast(anchors):
        draws = Draws.of(hard, recipe)
        cosines, inverse = _compare(anchors, hard, draws)
        cosines.masked_fill_(hard.cosines[:, :1] == -INF, -INF)
        value = torch.logsumexp(cosines * number(scale), dim=1)
        means = _mean_mixture(anchors, hard, draws, torch.softmax(cosines * number(scale), dim=1) * inverse)
    with no_autocast(anchors):
        # The derivative of the value by the anchor is scale * mean, by the scale the anchor's product with the mean.
        along = torch.linalg.vecdot(anchors, means) * scale
    return value + (along - along.detach()), cosines


class Draws(NamedTuple):
    """What is mixed with what.

    Attributes:
        first: ``(B, mixed)`` int64, of each anchor's hardest.
        second: likewise, the other parent.
        weight: ``(B, mixed)``, of the first.
        parent: ``(B, query_mixed)`` int64, of each anchor's hardest.
        query_weight: ``(B, query_mixed)``, of the anchor.
    """

    first: Tensor
    second: Tensor
    weight: Tensor
    parent: Tensor
    query_weight: Tensor

    @classmethod
    def of(cls, hard: Hard, recipe: Recipe) -> Draws:
        """Even draws among what each anchor has; two different parents where it has two."""
        count = (hard.cosines > -INF).sum(dim=1, keepdim=True).clamp_(min=1)

        def weights(columns: int, most: float = 1.0) -> Tensor:
            return mixing.uniform((len(count), columns), 0.0, most, like=hard.pool)

        def below(most: Tensor, columns: int) -> Tensor:
            drawn = weights(columns).mul_(most).long()
            return torch.minimum(drawn, (most - 1).clamp(min=0))  # a product may round up

        first = below(count, recipe.mixed)
        second = (first + 1 + below(count - 1, recipe.mixed)) % count
        parent = below(count, recipe.query_mixed)
        return cls(first, second, weights(recipe.mixed), parent, weights(recipe.query_mixed, recipe.query_share))


def _compare(anchors: Tensor, hard: Hard, draws: Draws) -> tuple[Tensor, Tensor]:
    """Cosines of anchors and mixtures, and 1 / length of the mixtures before they were normalised."""
    a, b = draws.weight, draws.query_weight
    first, second, parent = (hard.cosines.gather(1, c) for c in (draws.first, draws.second, draws.parent))
    own = torch.linalg.vecdot(anchors, anchors)[:, None]  # 1, but for a zero row
    theirs = torch.linalg.vecdot(hard.pool, hard.pool)[hard.places.gather(1, draws.parent)]
    squares = b.square() * own + (1 - b).square() * theirs + 2 * b * (1 - b) * parent
    lengths = torch.cat([_pair_lengths(hard, draws), squares.clamp_(min=0).sqrt_()], dim=1)
    inverse = inverse_length(lengths)
    products = torch.cat([a * first + (1 - a) * second, b * own + (1 - b) * parent], dim=1)
    return products * inverse, inverse


def _pair_lengths(hard: Hard, draws: Draws) -> Tensor:
    """Lengths ``(B, mixed)`` of ``weight * first + (1 - weight) * second``."""
    lengths = torch.empty_like(draws.weight)
    for rows in blocks(len(lengths), row_block(4 * lengths.shape[1] * hard.pool.shape[1], lengths.device)):
        places = torch.stack([hard.places[rows].gather(1, c[rows]) for c in (draws.first, draws.second)], dim=2)
        weights = torch.stack([draws.weight[rows], 1 - draws.weight[rows]], dim=2)
        pairs = _weighted_sum(hard.pool, places.view(-1, 2), weights.view(-1, 2))
        lengths[rows] = torch.linalg.vector_norm(pairs, dim=1).view_as(lengths[rows])
    return lengths


def _mean_mixture(anchors: Tensor, hard: Hard, draws: Draws, weights: Tensor) -> Tensor:
    """``(B, D)``: the sum of the mixtures, before they were normalised, by ``weights``; 0 where those are NaN."""
    a, b = draws.weight, draws.query_weight
    weights = torch.where(hard.cosines[:, :1] == -INF, 0.0, weights)
    pairs, queries = weights[:, : a.shape[1]], weights[:, a.shape[1] :]
    shares = torch.zeros_like(hard.cosines)  # of each parent in all its mixtures, so that each is fetched once
    shares.scatter_add_(1, draws.first, pairs * a).scatter_add_(1, draws.second, pairs * (1 - a))
    shares.scatter_add_(1, draws.parent, queries * (1 - b))
    return _weighted_sum(hard.pool, hard.places, shares).addcmul_(anchors, (queries * b).sum(dim=1, keepdim=True))


def _weighted_sum(pool: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """``(n, D)``: for each row of ``places`` the sum of these rows of the pool, by ``weights``."""
    return functional.embedding_bag(places, pool, per_sample_weights=weights, mode="sum")


class MoCHi(Hardened):
    """`mochi_loss` as a module.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        hardest: negatives per anchor that are mixed (paper: 128 to 1024); None: 128, or an eighth of the candidates.
        mixed: mixtures of two of them per anchor (paper: 128 to 1024).
        query_mixed: mixtures of one of them with the anchor itself (paper: 0 to 512).
        query_share: bound on the anchor's share in those, above 0 and at most 0.5.
        warmup: share of the training that is plain InfoNCE (paper: 0.05 to 0.075). In a loop of your own set
            ``progress``, or leave this at 0.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives. None: only where there is no queue.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.

    Raises:
        ConfigError: a setting out of its range.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        hardest: int | None = None,
        mixed: int = 128,
        query_mixed: int = 32,
        query_share: float = 0.5,
        warmup: float = 0.0,
        symmetric: bool | None = None,
        in_batch: bool | None = None,
        learnable_temperature: bool = False,
    ) -> None:
        super().__init__(temperature, warmup, symmetric, in_batch, learnable_temperature)
        self.recipe = Recipe(hardest, mixed, query_mixed, query_share)

    def _added(self, in_batch: int) -> int:
        return self.recipe.makes

    def _harder(self, *inputs: Any, **settings: Any) -> Result:
        recipe = self.recipe
        return mochi_loss(
            *inputs,
            **settings,
            hardest=recipe.hardest,
            mixed=recipe.mixed,
            query_mixed=recipe.query_mixed,
            query_share=recipe.query_share,
        )
