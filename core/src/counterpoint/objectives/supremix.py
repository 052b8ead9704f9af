"""SupReMix: supervised contrast for ordered labels, with mixtures of the batch's embeddings as harder pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar, get_args

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._contrast import Temperature
from counterpoint.objectives._inputs import check_above, check_choice, check_count
from counterpoint.objectives._ordinal import Distance, Neighbours, check_targets, levels, magnified
from counterpoint.objectives._positives import Extra, WeightedContrast, places_of
from counterpoint.objectives._rows import as_scale, check_finite, prepare
from counterpoint.objectives._tiles import INF
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.gather import gather
from counterpoint.objectives.mixing import beta as draw_beta

__all__ = ["SupReMix", "sup_re_mix_loss"]


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of `sup_re_mix_loss`."""

    mix_negatives: bool = True
    mix_positives: bool = True
    window: float = 5.0
    beta: tuple[float, float] = (2.0, 8.0)
    weights: Distance = "L1"
    max_triples: int = 256
    unit: float | None = None

    def __post_init__(self) -> None:
        check_above("window", self.window)
        if not isinstance(self.beta, (tuple, list)) or len(self.beta) != 2:
            raise ConfigError(message("beta", self.beta, "two numbers above 0"))
        for value in self.beta:
            check_above("beta", value)
        check_choice("weights", self.weights, get_args(Distance))
        check_count("max_triples", self.max_triples, 0)
        if self.unit is not None:
            check_above("unit", self.unit)


def sup_re_mix_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    *,
    targets: Tensor | None = None,
    temperature: float | Tensor = 0.3,
    mix_negatives: bool = True,
    mix_positives: bool = True,
    window: float = 5.0,
    beta: tuple[float, float] = (2.0, 8.0),
    weights: Distance = "L1",
    max_triples: int = 256,
    unit: float | None = None,
    shares: Tensor | None = None,
) -> Result:
    """Bring rows of one target together and push others apart, the farther their targets the harder.

    With unit rows ``z[r]`` of all views of all samples, targets ``y[r]``, ``s(x, y) = x . y / temperature`` and the
    weight ``w(y, y') = |y - y'| + 1`` (``weights="L1"``; ``"L2"``: its square, + 1; ``"none"``: 1)::

        mixed negative of a and k, y[k] != y[a]:   m = b z[a] + (1 - b) z[k],  its target mixed alike; b from Beta
        mixed positive of a, y[j] < y[a] < y[k],   m = b z[j] + (1 - b) z[k],  b = (y[k] - y[a]) / (y[k] - y[j]):
          both nearer than ``window``:                                         its target is y[a]
        D[a] = sum over rows r != a of w exp s(z[a], z[r])  +  sum over a's mixtures m of w exp s(z[a], m)
        A[a] = other rows of target y[a], and a's mixed positives
        L = mean over anchors a of  log D[a] - mean over A[a] of s(z[a], .)

    Mixtures belong to their anchor alone, are not scaled to length 1, and take no gradient: only the anchor learns from
    them. An anchor whose ``A`` is empty is left out. A sample of unknown target is a class of its own, made of its
    views; it weighs 1 and is not mixed. Samples of equal content id are one class, with the target of whichever has one
    (two known targets that differ are believed).

    **Relations.** Neither mixtures nor weights: `sup_con_loss` with equal targets as classes; targets that all differ
    (or none given) and two views: `nt_xent_loss`.

    **Several processes.** The rows of all ranks are candidates, with gradients, and parents of mixtures, without
    (reduction ``"gather"``).

    **Cost.** A mixture is linear in its parents, so its similarity is a mixture of two similarities: two products of
    ``V B x V B x D`` forward, three backward, and no mixture is ever formed. Memory ``O(V B D)`` and a block of rows of
    ``2 V B + max_triples`` numbers.

    Args:
        embeddings: V views, one or more, each ``(B, D)``, any length: they are normalised here, in float32.
        ids: ``(B,)`` int64 content ids, or None: all differ.
        targets: ``(B,)`` floating point, NaN for unknown; None: all unknown.
        temperature: above 0, usually 0.1 to 0.3; a scalar tensor takes its gradient.
        mix_negatives: mix each anchor with rows of other targets: harder negatives.
        mix_positives: mix rows on either side of the anchor's target: harder positives.
        window: parents of mixed positives are nearer to the anchor's target than this; in the targets' units.
        beta: parameters of Beta, above 0, for the anchor's share in mixed negatives; mean 0.2 by default.
        weights: of the denominator's terms: ``"L1"``, ``"L2"`` or ``"none"``.
        max_triples: at most so many mixed positives an anchor, drawn anew each time, that stand for all; 0: all.
        unit: the smallest difference of targets that means something: they are rounded to whole multiples of it, and
            ``window`` and weights count in it. None: as they are, where only equal targets are positives.
        shares: ``(V B, V B)`` (candidates of all ranks) shares of the anchor in mixed negatives; None: drawn from
            torch's global generator. Which triples stand for all is always drawn.

    Returns:
        loss; parts ``positive`` (mean cosine of positives, mixed ones included) and ``p_positive`` (their mean
        probability).

    Raises:
        ShapeError: inputs that do not fit, or a NaN row (named).
        ConfigError: an option out of its range.

    Source: Wu et al. 2023 (arXiv 2309.16633).
    """
    options = Options(mix_negatives, mix_positives, window, beta, weights, max_triples, unit)
    scale = as_scale(temperature)
    rows = prepare(embeddings, ids, None, None, least=1, queued=False)
    check_targets(targets, rows.size)
    if targets is not None:
        targets = gather(targets)
    values, classes = levels(targets, options.unit, rows.all_ids, rows.joined, rows.total)
    views = len(rows.views)
    everyone, values = torch.cat(list(rows.everyone)), values.repeat(views)
    if shares is not None and tuple(shares.shape) != (len(rows.joined), len(everyone)):
        raise ShapeError(message("shares", tuple(shares.shape), f"({len(rows.joined)}, {len(everyone)})"))
    places = places_of(rows.size, rows.total, views, everyone.device)
    mixer = _Mixer(everyone.detach(), values, places, scale, options, Neighbours(values, window), shares)
    terms = WeightedContrast(
        rows.joined,
        everyone,
        scale,
        places,
        classes.repeat(views),
        log_weight=None if weights == "none" else partial(_log_weight, values, weights),
        extra=mixer if mix_negatives or mix_positives else None,
        extras=mixer.columns(),
    ).terms()
    loss = terms.mean()
    check_finite(loss, embeddings, None)
    return Result(loss, terms.parts())


def _log_weight(values: Tensor, kind: Distance, i: Tensor, j: Tensor) -> Tensor:
    return magnified(values[i, None] - values[j], kind)


@dataclass(frozen=True, slots=True)
class _Mixer:
    """Similarities of anchors with their mixtures.

    Attributes:
        parents: ``(M, D)`` unit rows without gradient.
        values: ``(M,)`` their targets.
        places: where the anchors are among them.
        scale: 1 / temperature.
        options: the settings.
        neighbours: the rows by target.
        shares: ``(N, M)`` shares of the anchor in mixed negatives, or None.
    """

    parents: Tensor
    values: Tensor
    places: Tensor
    scale: float | Tensor
    options: Options
    neighbours: Neighbours
    shares: Tensor | None

    def columns(self) -> int:
        """The most mixtures of one anchor."""
        rows = len(self.parents)
        triples = self.options.max_triples or rows * rows // 4
        return rows * self.options.mix_negatives + triples * self.options.mix_positives

    def __call__(self, anchors: Tensor, numbers: Tensor) -> Extra:
        """The mixtures of some anchors, ``(n, columns)``."""
        cosine = anchors @ self.parents.t()
        values = self.values[self.places[numbers]]
        makers: list[Callable[[Tensor, Tensor, Tensor], Extra]] = []
        makers += [self._negatives] if self.options.mix_negatives else []
        makers += [self._positives] if self.options.mix_positives else []
        made = [make(cosine, values, numbers) for make in makers]
        return Extra(*(torch.cat(column, 1) for column in zip(*made)))

    def _negatives(self, cosine: Tensor, values: Tensor, numbers: Tensor) -> Extra:
        distance = values[:, None] - self.values
        if self.shares is None:
            share = draw_beta(tuple(cosine.shape), *self.options.beta, like=cosine)
        else:
            share = self.shares[numbers].to(cosine)
        # A unit row's similarity with itself is 1 (0 for a zero row) and has no gradient.
        anchors = self.parents[self.places[numbers]]
        own = torch.linalg.vecdot(anchors, anchors)[:, None].expand_as(cosine)
        log_weight = magnified((1 - share) * distance, self.options.weights)
        log_weight = log_weight.masked_fill(~(distance.abs() > 0), -INF)
        return Extra(torch.lerp(cosine, own, share) * self.scale, log_weight, torch.zeros_like(share))

    def _positives(self, cosine: Tensor, values: Tensor, numbers: Tensor) -> Extra:
        triples = self.neighbours.triples(values, self.options.max_triples)
        mixed = torch.lerp(cosine.gather(1, triples.above), cosine.gather(1, triples.below), triples.share)
        return Extra(mixed * self.scale, triples.times.log(), triples.times)


class SupReMix(Objective):
    """`sup_re_mix_loss` as a module.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        mix_negatives: mix each anchor with rows of other targets: harder negatives.
        mix_positives: mix rows on either side of the anchor's target: harder positives.
        window: parents of mixed positives are nearer to the anchor's target than this, in the targets' units.
        beta: shares of the anchor in mixed negatives come from Beta of these two, above 0; mean 0.2 by default.
        weights: of the denominator's terms: ``"L1"`` (label distance + 1), ``"L2"`` (its square + 1) or ``"none"``.
        max_triples: at most so many mixed positives an anchor, drawn anew each time, that stand for all; 0: all.
        unit: the smallest difference of targets that means something: they are rounded to whole multiples of it, and
            ``window`` and weights count in it. None: as they are, where only equal targets are positives.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below.

    Raises:
        ConfigError: a setting out of its range.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        temperature: float = 0.3,
        mix_negatives: bool = True,
        mix_positives: bool = True,
        window: float = 5.0,
        beta: tuple[float, float] = (2.0, 8.0),
        weights: Distance = "L1",
        max_triples: int = 256,
        unit: float | None = None,
        learnable_temperature: bool = False,
    ) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable_temperature)
        self.options = Options(mix_negatives, mix_positives, window, beta, weights, max_triples, unit)

    def forward(
        self, embeddings: Sequence[Tensor], ids: Tensor | None = None, *, targets: Tensor | None = None
    ) -> Result:
        """See `sup_re_mix_loss`."""
        temperature = self.temperature()
        result = sup_re_mix_loss(embeddings, ids, targets=targets, temperature=temperature, **asdict(self.options))
        self._notice(embeddings, None)
        if isinstance(temperature, Tensor):
            result.parts["temperature"] = temperature.detach()
        return result

    def chance(self, batch_size: int) -> float | None:
        """Log of the number of other rows where there are neither mixtures nor weights; else None.

        What mixtures and weights add to the denominator depends on the batch's targets.
        """
        options = self.options
        if options.mix_negatives or options.mix_positives or options.weights != "none":
            return None
        others = batch_size * self._seen[0] - 1
        return math.log(others) if others > 0 else None
