"""Feature transformation: InfoNCE on positives pulled apart and on negatives mixed with each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from counterpoint.objectives import kernel, mixing
from counterpoint.objectives._contrast import PARTS, Options, join, sides
from counterpoint.objectives._hardened import Hardened
from counterpoint.objectives._head import Head, PairList
from counterpoint.objectives._inputs import check_above, check_choice, no_autocast
from counterpoint.objectives._rows import Rows, as_scale, check_finite, prepare
from counterpoint.objectives._tiles import Cycle, Key
from counterpoint.objectives._unit import unit_rows
from counterpoint.objectives.base import Parts, Result
from counterpoint.objectives.info_nce import info_nce_loss

__all__ = ["FeatureTransform", "Granularity", "feature_transform_loss"]

Granularity = Literal["step", "sample", "dim"]
LOOKED_AT = 64
"""Anchors whose negatives' scores are compared before and after, when a part is read."""


def feature_transform_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.2,
    extrapolate: Granularity | None = "step",
    interpolate: Granularity | None = "step",
    extrapolate_alpha: float = 2.0,
    interpolate_alpha: float = 1.6,
    normalize: bool = False,
    symmetric: bool | None = None,
    in_batch: bool | None = None,
) -> Result:
    """InfoNCE after positives were moved away from each other and negatives onto lines between two of them.

    With unit rows, query q and key k of a sample, negatives n_j, a random permutation p of these, and weights
    x = 1 + Beta(2, 2), w = Beta(1.6, 1.6) that are drawn anew at each call::

        q^ = x q + (1 - x) k         k^ = x k + (1 - x) q         n^_j = w n_j + (1 - w) n_p(j)
        L  = - q^.k^ / t + log(exp(q^.k^ / t) + sum_j exp(q^.n^_j / t))

    For the cosine s of q and k: ``q^.k^ = s + 2 x (1 - x) (1 - s)``, between 5 s - 4 (x = 2) and s (x = 1): a harder
    positive. q^ and k^ keep their midpoint and are longer than 1; the gradient of the positive grows to
    ``x^2 + (1 - x)^2`` times. The number of negatives and their mean stay, their scores vary less. A queue keeps what
    was put into it: nothing here is written back.

    A mixture that holds a row of the anchor's own content is left out, as that row is: in the batch each anchor is
    compared with one row less. An anchor for which no mixture is left (duplicates in a tiny batch) is compared with the
    rows themselves.

    **Relations.** With neither part, bit for bit `info_nce_loss`. With a temperature of 0.07 and less, scores down to
    -9 / t make the first steps rough: take 0.1 to 0.2, or a warm-up.

    **Several processes.** As `info_nce_loss`. With ``"step"`` and equal random states the loss is that of one process;
    else each process draws its own weights.

    **Cost.** That of `info_nce_loss`, one look-up of the negatives, and (in the batch) their gradients; memory
    ``O((B + M) D)``.

    Args:
        embeddings: as in `info_nce_loss`; with a queue ``([query, key])``. Of more than two views each pair is
            transformed by itself.
        ids: ``(B,)`` int64 content ids.
        negatives: ``(M, D)`` a queue's rows, without gradient.
        negative_ids: ``(M,)`` int64 content ids of these.
        temperature: above 0, usually 0.1 to 0.2; a scalar tensor takes its gradient.
        extrapolate: one weight x for the whole batch (``"step"``), for each sample, or for each of its dimensions
            (``"dim"``, then x differs within a row and the formula for q^.k^ no longer holds); None: leave positives.
        interpolate: one weight w for all negatives, for each, or for each dimension; None: leave negatives.
        extrapolate_alpha: above 0; x = 1 + Beta(alpha, alpha).
        interpolate_alpha: above 0; w = Beta(alpha, alpha).
        normalize: scale what was moved to length 1.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives. None: only where there is no queue.

    Returns:
        loss; the parts of `info_nce_loss` (``positive`` is the raw cosine, ``p_positive`` and ``q_…`` are of what was
        transformed), ``positive_transformed`` (mean of q^.k^), ``negative_variance`` and
        ``negative_variance_transformed`` (mean over the first 64 anchors of the variance of q.n_j and of q.n^_j, of
        the queue where there is one).

    Raises:
        ShapeError: inputs that do not fit, no negative at all, or a NaN row (named).
        ConfigError: a setting out of its range.

    Source: Zhu et al. 2021 (arXiv 2108.02982), eqs. 3 to 6; the released code's defaults.
    """
    moves = Moves(extrapolate, interpolate, extrapolate_alpha, interpolate_alpha, normalize)
    options = Options(**sides(symmetric, in_batch, negatives))
    if extrapolate is None and interpolate is None:
        return info_nce_loss(
            embeddings,
            ids,
            negatives,
            negative_ids,
            temperature=temperature,
            symmetric=options.symmetric,
            in_batch=options.in_batch,
        )
    scale = as_scale(temperature)
    rows = prepare(embeddings, ids, negatives, negative_ids, options.in_batch)
    with no_autocast(rows.joined):
        result = _Transformed(rows, moves, options, scale).result()
    check_finite(result.loss, embeddings, negatives)
    return result


@dataclass(frozen=True, slots=True)
class Moves:
    """What is moved, and how far; see `feature_transform_loss`."""

    extrapolate: Granularity | None
    interpolate: Granularity | None
    extrapolate_alpha: float
    interpolate_alpha: float
    normalize: bool

    def __post_init__(self) -> None:
        for name in ("extrapolate", "interpolate"):
            check_above(f"{name}_alpha", getattr(self, f"{name}_alpha"))
            check_choice(name, getattr(self, name), ("step", "sample", "dim", None))


def weights(granularity: Granularity, alpha: float, like: Tensor) -> Tensor:
    """Beta(alpha, alpha): one number ``()``, ``(N,)``, or ``(N, D)`` for rows ``like`` of shape ``(N, D)``."""
    shape = {"step": (), "sample": like.shape[:1], "dim": like.shape}[granularity]
    return mixing.beta(shape, alpha, alpha, like=like)


@dataclass(slots=True)
class _Mixed:
    """Negatives after interpolation, and whose content each holds.

    Attributes:
        raw: ``(M, D)``.
        rows: ``(M, D)``, what they became.
        keys: ids of a mixture's first parent, or None where they are not known.
        partners: ids of its second, or None where it has none.
    """

    raw: Tensor
    rows: Tensor
    keys: Key | None
    partners: Tensor | None

    @classmethod
    def of(cls, rows: Tensor, keys: Key | None, moves: Moves) -> _Mixed:
        if moves.interpolate is None:
            return cls(rows, rows, keys, None)
        size = len(rows)
        order = torch.randperm(size, device=rows.device)
        weight = weights(moves.interpolate, moves.interpolate_alpha, rows)
        mixed = mixing.mix(rows, rows[order], weight, normalize=moves.normalize)
        known = keys.tensor(size, rows.device) if isinstance(keys, Cycle) else keys
        return cls(rows, mixed, keys, None if known is None else known[order])

    def logsumexp(self, anchors: Tensor, keys: Key | None, scale: float | Tensor) -> Tensor:
        """Over the mixtures that hold nothing of the anchor's content, ``(B,)``; where none is left, over the rows."""
        ids = None if keys is None or self.keys is None else (keys, self.keys)
        partners = None if keys is None or self.partners is None else (keys, self.partners)
        found = kernel.logsumexp(anchors, self.rows, scale, pairs=kernel.Pairs(ids=ids, rows=partners))
        lost = found == -math.inf
        if partners is None or not bool(lost.any()):
            return found
        return torch.where(lost, kernel.logsumexp(anchors, self.raw, scale, pairs=kernel.Pairs(ids=ids)), found)


class _Transformed:
    """One call, pair of views by pair of views."""

    def __init__(self, rows: Rows, moves: Moves, options: Options, scale: float | Tensor) -> None:
        self.rows, self.moves, self.options, self.scale = rows, moves, options, scale
        self.queue = None if rows.queue is None else _Mixed.of(rows.queue, rows.queue_ids, moves)

    def result(self) -> Result:
        """Mean over pairs of views."""
        views = len(self.rows.views)
        pairs = [*combinations(range(views), 2)] if self.options.symmetric else [(0, b) for b in range(1, views)]
        found = [self._of_pair(a, b) for a, b in pairs]
        if len(found) == 1:
            return found[0]
        told = [result.parts for result in found]
        parts = Parts(lambda: {name: torch.stack([one[name] for one in told]).mean() for name in told[0]})
        return Result(torch.stack([r.loss for r in found]).mean(), parts)

    def _of_pair(self, a: int, b: int) -> Result:
        first, second = self.rows.views[a], self.rows.views[b]
        moved = self._apart(first, second)
        sides = [(moved[0], b), (moved[1], a)] if self.options.symmetric else [(moved[0], b)]
        negative, looked_at = [], None
        for anchors, other in sides:
            pools = self._pools(other)
            looked_at = looked_at or pools[-1]
            negative.append(join([pool.logsumexp(anchors, self._keys(pool), self.scale) for pool in pools]))
        pairs = PairList.of(2, [(0, 1), (1, 0)][: len(sides)])
        joined = torch.cat(moved)
        loss, *parts = kernel.apply(Head, joined, torch.stack(negative), self.scale, None, pairs, False)
        told = dict(zip(PARTS, parts))
        assert looked_at is not None
        anchors, positives, keys = first.detach(), second.detach(), self._keys(looked_at)
        pool = replace(looked_at, raw=looked_at.raw.detach(), rows=looked_at.rows.detach())
        return Result(loss, Parts(lambda: _parts(told, anchors, positives, pool, keys)))

    def _apart(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends of a positive, extrapolated."""
        if self.moves.extrapolate is None:
            return first, second
        weight = 1 + weights(self.moves.extrapolate, self.moves.extrapolate_alpha, first)
        moved = mixing.mix(first, second, weight), mixing.mix(second, first, weight)
        return (unit_rows(moved[0]), unit_rows(moved[1])) if self.moves.normalize else moved

    def _pools(self, other: int) -> list[_Mixed]:
        """What anchors are compared with: another view's rows, the queue."""
        pools = [] if self.queue is None else [self.queue]
        if self.options.in_batch:
            pools.insert(0, _Mixed.of(self.rows.everyone[other], self.rows.all_keys(), self.moves))
        return pools

    def _keys(self, pool: _Mixed) -> Key | None:
        """Ids of the anchors, as far as the pool's are known."""
        return self.rows.ids if pool is self.queue else self.rows.keys()


@torch.no_grad()
def _parts(told: dict[str, Tensor], first: Tensor, second: Tensor, pool: _Mixed, keys: Key | None) -> dict[str, Tensor]:
    anchors = first[:LOOKED_AT]
    with no_autocast(anchors):
        raw, mixed = _own(keys, pool.keys, anchors, pool.raw), _own(keys, pool.partners, anchors, pool.raw)
        told = {**told, "positive_transformed": told["positive"]}
        told["positive"] = torch.linalg.vecdot(first, second).mean()
        told["negative_variance"] = _variance(anchors @ pool.raw.t(), raw)
        told["negative_variance_transformed"] = _variance(anchors @ pool.rows.t(), raw | mixed)
    return told


def _own(keys: Key | None, others: Key | None, anchors: Tensor, rows: Tensor) -> Tensor:
    """Which rows hold something of the anchor's content, ``(anchors, rows)``; none, as far as it is not known."""
    if keys is None or others is None:
        return torch.zeros(len(anchors), len(rows), dtype=torch.bool, device=rows.device)
    own, theirs = (
        key.tensor(size, rows.device) if isinstance(key, Cycle) else key[:size]
        for key, size in ((keys, len(anchors)), (others, len(rows)))
    )
    return own[:, None] == theirs


def _variance(scores: Tensor, left_out: Tensor) -> Tensor:
    """Mean over anchors of the variance of the scores that are not left out; of fewer than two it is 0."""
    counted = ~left_out
    count = counted.sum(dim=1, keepdim=True)
    mean = (scores * counted).sum(dim=1, keepdim=True) / count.clamp(min=1)
    squares = (scores - mean).square() * counted
    return (squares.sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).mean()


class FeatureTransform(Hardened):
    """`feature_transform_loss` as a module.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        extrapolate: weight of positives: one for the batch (``"step"``), per ``"sample"``, per ``"dim"``; None: none.
        interpolate: weight of negatives, likewise.
        extrapolate_alpha: above 0; the weight is 1 + Beta(alpha, alpha).
        interpolate_alpha: above 0; the weight is Beta(alpha, alpha).
        normalize: scale what was moved to length 1.
        warmup: share of the training that is plain InfoNCE (paper: 0). In a loop of your own set ``progress``, or leave
            this at 0.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives. None: only where there is no queue.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.

    Raises:
        ConfigError: a setting out of its range.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        extrapolate: Granularity | None = "step",
        interpolate: Granularity | None = "step",
        extrapolate_alpha: float = 2.0,
        interpolate_alpha: float = 1.6,
        normalize: bool = False,
        warmup: float = 0.0,
        symmetric: bool | None = None,
        in_batch: bool | None = None,
        learnable_temperature: bool = False,
    ) -> None:
        super().__init__(temperature, warmup, symmetric, in_batch, learnable_temperature)
        self.moves = Moves(extrapolate, interpolate, extrapolate_alpha, interpolate_alpha, normalize)

    def _added(self, in_batch: int) -> int:
        """The mixture whose second parent is the anchor's own sample is left out, as far as others remain."""
        return -1 if self.moves.interpolate is not None and in_batch > 1 else 0

    def _harder(self, *inputs: Any, **settings: Any) -> Result:
        moves = self.moves
        return feature_transform_loss(
            *inputs,
            **settings,
            extrapolate=moves.extrapolate,
            interpolate=moves.interpolate,
            extrapolate_alpha=moves.extrapolate_alpha,
            interpolate_alpha=moves.interpolate_alpha,
            normalize=moves.normalize,
        )
