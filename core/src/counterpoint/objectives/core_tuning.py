"""Core-tuning: cross-entropy beside supervised contrast, both over mined and mixed features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._inputs import (
    check_above,
    check_at_least,
    check_choice,
    check_rows,
    check_share,
    check_temperature,
    full_precision,
)
from counterpoint.objectives._positives import Extra, MeanOver, Terms, WeightedContrast, class_numbers, places_of
from counterpoint.objectives._rows import as_scale, check_ids, name_broken_rows
from counterpoint.objectives._tiles import INF
from counterpoint.objectives._unit import unit_rows
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.gather import gather, rank, world_size
from counterpoint.objectives.mining import HardestPairs, hardest_pairs
from counterpoint.objectives.mixing import beta as draw_beta
from counterpoint.objectives.mixing import mix

__all__ = ["CoreTuning", "MixDraws", "core_tuning_loss"]

Pairing = Literal["paper", "released"]
Head = Callable[[Tensor], Tensor]


class MixDraws(NamedTuple):
    """What is left to chance in one step, ``(B,)`` each.

    Attributes:
        partner: int64 positions among the samples of all ranks, each another sample than the row's own.
        negative: share of the partner in the semi-hard negative.
        positive: share of the hardest positive in the hard positive.
    """

    partner: Tensor
    negative: Tensor
    positive: Tensor

    @classmethod
    def draw(cls, size: int, beta: float, least: float, like: Tensor) -> MixDraws:
        """Partners in a ring through this rank's samples in random order; shares from Beta(beta, beta)."""
        order = torch.randperm(size, device=like.device)
        partner = torch.empty_like(order)
        partner[order] = order.roll(1) + rank() * size
        shares = draw_beta((2, size), beta, beta, like=like)
        return cls(partner, shares[0].clamp_min(least), shares[1])


@dataclass(frozen=True, slots=True)
class _Mixed:
    """Rows for classifier and projector: the originals, then (with mixing) hard positives, then semi-hard negatives.

    Attributes:
        features: ``(R, F)``, R = B or 3 B.
        first: ``(R,)`` the first class of each row's soft label.
        second: ``(R,)`` its second one.
        share: ``(R,)`` the first one's share.
        pairs: what was mined for each of the B originals, or None without mixing.
    """

    features: Tensor
    first: Tensor
    second: Tensor
    share: Tensor
    pairs: HardestPairs | None

    @property
    def pure(self) -> Tensor:
        """The class of a row that is of one class alone, else -1."""
        ends = torch.where(self.share == 0, self.second, torch.where(self.share == 1, self.first, -1))
        return torch.where(self.first == self.second, self.first, ends)


def core_tuning_loss(
    features: Tensor,
    labels: Tensor,
    classify: Head,
    project: Head | None = None,
    *,
    weight: float = 1.0,
    temperature: float | Tensor = 0.07,
    mixing: bool = True,
    beta: float = 1.0,
    least: float = 0.8,
    focal: bool = True,
    pairing: Pairing = "paper",
    mean_over: MeanOver = "positives",
    detach_originals: bool = False,
    draws: MixDraws | None = None,
) -> Result:
    """Tell classes apart, and bring those of a class together, on the batch's features and on mixtures of them.

    With features ``h``, for each sample i: ``p`` the least similar sample of its class, ``n`` the most similar one of
    another class, ``r`` any other sample, and shares a, b drawn from Beta(beta, beta), b no less than ``least``::

        hard positive       h+[i] = a h[p] + (1 - a) h[n]
        semi-hard negative  h-[i] = b h[r] + (1 - b) h[i]          soft labels are mixed alike
        CE  = mean over h, h+, h- of - sum over classes c of label[c] log softmax(classify(.))[c]
        L   = CE + weight * contrast

    ``contrast`` compares ``v = project(.)``, scaled to length 1: with ``p[i, j]`` the softmax over the candidates j of
    anchor i of ``v[i] . v[j] / temperature`` and ``P(i)`` its positives::

        contrast = - mean over anchors i  1 / Z[i]  sum over j in P(i) of (1 - p[i, j]) log p[i, j]

    The factor (``focal``) leaves alone what is already close; its gradient counts. An anchor without positive is left
    out.

    - ``pairing="paper"``: anchors are the samples. Candidates are the other samples, and the anchor's own ``h+`` (a
      positive) and ``h-`` (a negative, unless it was mixed within the class).
    - ``pairing="released"``, as the authors' code has it: anchors and candidates are all rows. Positives are rows of
      equal label; a row of mixed label has none, and is a negative of everybody, its own anchor included.

    **Relations.** ``weight=0, mixing=False``: cross-entropy. ``weight=0``: cross-entropy with mixup of features (of
    hard pairs). ``mixing=False, focal=False``: cross-entropy beside supervised contrast of one view (`sup_con_loss`).

    **Several processes.** Pairs are mined, and candidates compared, over the samples of all ranks, with gradients
    (reduction ``"gather"``); ``h-`` mixes samples of one rank.

    **Cost.** Both heads see 3 B rows, the encoder B. One product of ``B x B x F`` to mine, three of ``B x B x D`` to
    contrast; memory ``O(B (F + D))`` and a block of the similarity matrix.

    Args:
        features: ``(B, F)`` of the encoder, not normalised.
        labels: ``(B,)`` int64 classes from 0.
        classify: ``(R, F)`` -> ``(R, C)`` logits.
        project: ``(R, F)`` -> ``(R, D)``, any length; None: the features themselves.
        weight: of the contrast, from 0; the paper chooses among 0.1, 1 and 10 by validation.
        temperature: above 0.
        mixing: mine and mix; else there are the samples alone.
        beta: above 0; 1 draws shares evenly.
        least: least share of the other sample in a semi-hard negative, in [0, 1].
        focal: weight each positive by 1 - p.
        pairing: see above.
        mean_over: ``"positives"``: Z is their number; ``"candidates"``: that of an anchor's columns, as the authors'
            code has it, so that the contrast is smaller by the share of positives among them (choose ``weight`` anew).
        detach_originals: no gradient to the encoder from rows that are not mixed (the authors' code).
        draws: partners and shares; None: drawn from torch's global generator.

    Returns:
        loss; parts ``cross_entropy``, ``accuracy`` (of the samples) and, with a weight, ``contrast``, ``positive``
        (mean cosine of positives) and ``p_positive`` (their mean probability).

    Raises:
        ShapeError: inputs that do not fit, a label that is unknown (-1) or beyond the classes, or a NaN row (named).
        ConfigError: an option out of its range.

    Source: Zhang et al. 2021 (arXiv 2102.06605); the authors' code for ``"released"`` and ``"candidates"``.
    """
    _check_options(weight, beta, least, pairing, mean_over, detach_originals, mixing)
    _check(features, labels)
    if mixing and draws is None:
        draws = MixDraws.draw(len(features), beta, least, features)
    elif draws is not None:
        _check_draws(draws, len(features))
    rows = _rows(features, labels, draws if mixing else None, detach_originals)
    logits = _checked("classify", classify(rows.features), len(rows.features))
    loss = _soft_cross_entropy(logits, rows)
    accuracy = (logits.detach()[: len(labels)].argmax(1) == labels).float().mean()
    parts = {"cross_entropy": loss.detach(), "accuracy": accuracy}
    if weight:
        size = len(rows.features)
        embeddings = rows.features if project is None else _checked("project", project(rows.features), size)
        embeddings = unit_rows(embeddings)
        compare = _paper if pairing == "paper" else _released
        terms = compare(rows, embeddings, as_scale(temperature), labels, focal, mean_over)
        contrast = terms.mean()
        loss = loss + weight * contrast
        parts |= {"contrast": contrast.detach(), **terms.parts()}
    if not math.isfinite(float(loss.detach())):
        name_broken_rows({"features": features})
    return Result(loss, parts)


def _checked(head: str, found: Tensor, rows: int) -> Tensor:
    """What a head made.

    Raises:
        ShapeError: not one row for each that it was given.
    """
    if found.dim() != 2 or len(found) != rows:
        raise ShapeError(message(head, f"output of shape {tuple(found.shape)}", f"({rows}, width)"))
    return found


def _check_draws(draws: MixDraws, size: int) -> None:
    """Refuse draws that are not of so many samples.

    Raises:
        ShapeError: another shape or type, or a partner that is no sample.
    """
    for name, column in zip(draws._fields, draws):
        if tuple(column.shape) != (size,):
            raise ShapeError(message(f"draws.{name}", tuple(column.shape), f"({size},)"))
    check_ids("draws.partner", draws.partner, size)
    total = size * world_size()
    wrong = (draws.partner < 0) | (draws.partner >= total)
    if bool(wrong.any()):
        raise ShapeError(message("draws.partner", int(draws.partner[wrong][0]), f"0 to {total - 1}"))


def _rows(features: Tensor, labels: Tensor, draws: MixDraws | None, detach_originals: bool) -> _Mixed:
    """Mine and mix."""
    originals = features.detach() if detach_originals else features
    if draws is None:
        return _Mixed(originals, labels, labels, torch.ones_like(labels), None)
    everyone, known = gather(features), gather(labels)
    mine = slice(rank() * len(labels), (rank() + 1) * len(labels))
    pairs = HardestPairs(*(column[mine] for column in hardest_pairs(everyone, known)))
    other = torch.where(pairs.has_negative, pairs.negative, pairs.positive)
    partner, negative, positive = draws.partner, draws.negative.to(features), draws.positive.to(features)
    return _Mixed(
        torch.cat(
            [
                originals,
                mix(everyone[pairs.positive], everyone[other], positive),
                mix(everyone[partner], features, negative),
            ]
        ),
        torch.cat([labels, known[pairs.positive], known[partner]]),
        torch.cat([labels, known[other], labels]),
        torch.cat([torch.ones_like(positive), positive, negative]),
        pairs,
    )


def _soft_cross_entropy(logits: Tensor, rows: _Mixed) -> Tensor:
    """Mean over rows; a soft label is two classes and a share, so that no ``(R, C)`` matrix of labels is needed."""
    classes = logits.shape[1]
    if int(rows.first.max()) >= classes:
        raise ShapeError(message("labels", int(rows.first.max()), f"0 to {classes - 1}, as `classify` has it"))
    log_p = F.log_softmax(full_precision(logits), dim=1)
    first, second = (log_p.gather(1, label[:, None])[:, 0] for label in (rows.first, rows.second))
    return -torch.lerp(second, first, rows.share.to(log_p)).mean()


def _paper(
    rows: _Mixed, embeddings: Tensor, scale: float | Tensor, labels: Tensor, focal: bool, mean_over: MeanOver
) -> Terms:
    """Anchors are the samples; each has its own hard positive and semi-hard negative."""
    size = len(labels)
    anchors = embeddings[:size]
    extra = None if rows.pairs is None else _own_mixtures(rows, rows.pairs, embeddings, scale)
    return WeightedContrast(
        anchors,
        gather(anchors),
        scale,
        places_of(size, size * world_size(), 1, labels.device),
        gather(labels),
        extra=extra,
        extras=0 if extra is None else 2,
        focal=focal,
        mean_over=mean_over,
    ).terms()


def _own_mixtures(
    rows: _Mixed, pairs: HardestPairs, embeddings: Tensor, scale: float | Tensor
) -> Callable[[Tensor, Tensor], Extra]:
    _, positive, negative = embeddings.chunk(3)
    apart = rows.first.chunk(3)[2] != rows.second.chunk(3)[2]
    takes_part = torch.stack([pairs.has_positive, apart], 1)
    counts = torch.stack([pairs.has_positive, torch.zeros_like(apart)], 1)

    def extra(anchors: Tensor, numbers: Tensor) -> Extra:
        cosine = [torch.linalg.vecdot(anchors, mixed[numbers]) for mixed in (positive, negative)]
        logits = torch.stack(cosine, 1) * scale
        left_out = torch.zeros_like(logits).masked_fill(~takes_part[numbers], -INF)
        return Extra(logits, left_out.detach(), counts[numbers])

    return extra


def _released(
    rows: _Mixed, embeddings: Tensor, scale: float | Tensor, labels: Tensor, focal: bool, mean_over: MeanOver
) -> Terms:
    """Anchors and candidates are all rows; rows of one pure class are positives."""
    size, pure = len(embeddings), gather(rows.pure)
    places = places_of(size, size * world_size(), 1, labels.device)
    classes = class_numbers(None, pure, len(pure), pure.device)
    return WeightedContrast(
        embeddings, gather(embeddings), scale, places, classes, focal=focal, mean_over=mean_over
    ).terms()


def _check(features: Tensor, labels: Tensor) -> None:
    check_rows("features", features)
    check_ids("labels", labels, len(features))
    if len(features) * world_size() < 2:
        raise ShapeError(message("features", "1 sample", "2 or more", "Samples are compared: raise batch_size."))
    unknown = int((labels < 0).sum())
    if unknown:
        todo = "Fine-tune on the samples whose label is known."
        raise ShapeError(message("labels", f"{unknown} unknown (below 0)", "classes from 0", todo))


def _check_options(
    weight: float, beta: float, least: float, pairing: str, mean_over: str, detached: bool, mixing: bool
) -> None:
    check_at_least("weight", weight)
    check_above("beta", beta)
    check_share("least", least)
    check_choice("pairing", pairing, get_args(Pairing))
    check_choice("mean_over", mean_over, get_args(MeanOver))
    if detached and not mixing:
        todo = "No row would teach the encoder."
        raise ConfigError(message("detach_originals", True, "False without mixing", todo))


class CoreTuning(Objective):
    """`core_tuning_loss` as a module; the heads come with each call, for they are the method's.

    Args:
        weight: of the contrast, from 0.
        temperature: above 0.
        mixing: mine and mix; else there are the samples alone.
        beta: above 0; shares of mixtures come from Beta(beta, beta).
        least: least share of the other sample in a semi-hard negative, in [0, 1].
        focal: weight each positive by 1 - its probability.
        pairing: who is a positive of whom: ``"paper"`` or ``"released"``.
        mean_over: divide an anchor's sum by its ``"positives"`` or by its ``"candidates"``.
        detach_originals: no gradient to the encoder from rows that are not mixed.

    Raises:
        ConfigError: a setting out of its range.
    """

    reduction: ClassVar[Reduction] = "gather"
    _classes: int | None = None

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 0.07,
        mixing: bool = True,
        beta: float = 1.0,
        least: float = 0.8,
        focal: bool = True,
        pairing: Pairing = "paper",
        mean_over: MeanOver = "positives",
        detach_originals: bool = False,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        _check_options(weight, beta, least, pairing, mean_over, detach_originals, mixing)
        self.weight, self.temperature, self.mixing = weight, temperature, mixing
        self.beta, self.least, self.focal = beta, least, focal
        self.pairing, self.mean_over, self.detach_originals = pairing, mean_over, detach_originals

    def forward(self, features: Tensor, labels: Tensor, classify: Head, project: Head | None = None) -> Result:
        """See `core_tuning_loss`."""

        def classify_and_count(rows: Tensor) -> Tensor:
            logits = classify(rows)
            self._classes = logits.shape[1]
            return logits

        return core_tuning_loss(
            features,
            labels,
            classify_and_count,
            project,
            weight=self.weight,
            temperature=self.temperature,
            mixing=self.mixing,
            beta=self.beta,
            least=self.least,
            focal=self.focal,
            pairing=self.pairing,
            mean_over=self.mean_over,
            detach_originals=self.detach_originals,
        )

    def chance(self, batch_size: int) -> float | None:
        """Of equal logits and equal embeddings: the log of the last call's classes, and ``weight`` times the contrast.

        None before the first call, and with ``mean_over="candidates"``: that depends on how many positives there are.
        """
        if self._classes is None or (self.weight and self.mean_over == "candidates"):
            return None
        mixtures = 0 if not self.mixing else 2 if self.pairing == "paper" else 2 * batch_size
        candidates = batch_size - 1 + mixtures
        if candidates < 1:
            return None
        share = 1 - 1 / candidates if self.focal else 1.0
        return math.log(self._classes) + self.weight * share * math.log(candidates)
