"""CLIP-rocket: contrast of weak views and, by heads of their own, of strong ones; and what was weighed against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.methods._common import detached, mean
from counterpoint.methods.base import HeadFactory
from counterpoint.methods.fit import require
from counterpoint.methods.pair import Pair
from counterpoint.objectives import InfoNCE, Objective, Result
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, Step, View
from counterpoint_multimodal.methods._common import check_choice, features, made
from counterpoint_multimodal.methods.extra import EXTRAS, Extra, Seen, Sides

Reduction = Literal["mean", "sum"]
ExtraName = Literal["barlip", "siamlip", "byolip", "swalip", "swalipv1"]
_REDUCTIONS = {"mean": 1.0, "sum": 2.0}


class Rocket(Pair):
    """CLIP over one weak view of each modality, and over N strong ones of each with labels that are smoothed.

    With ``L_g`` the contrast of the weak image and the weak text, and ``L_l`` the mean of the N x N contrasts of strong
    images and strong texts, each in both directions::

        L = (L_g + N L_l) / (1 + N)                        N = 0 is CLIP
        loss = (1 or 2) * L + weight * extra

    Weak and strong views are never compared with each other. An encoder that encodes views of role ``"local"`` by heads
    of their own (``TwoTowers(local_heads=True)``) makes strong augmentation harmless; without them this is the paper's
    ablation. Each contrast learns a temperature of its own.

    Args:
        encoder: two towers that end in one space.
        objective: of the weak views; InfoNCE at a learnt temperature that starts at 0.07 by default (CLIP).
        local_objective: of the strong ones; InfoNCE with ``smoothing`` at one that starts at 0.1 by default.
        smoothing: of the default ``local_objective``'s labels: this share is spread over all candidates.
        extra: a non-contrastive loss between the modalities beside it: ``"barlip"``, ``"siamlip"``, ``"byolip"``,
            ``"swalip"`` (which wants ``smoothing=0``) or ``"swalipv1"``, or None.
        weight: of that loss; None: as published (0.025, 1, 1, 0.2; see `SwALIPV1` for the last).
        extra_options: of that loss, by name: widths of its heads, whether strong views have heads of their own,
            momentum, …; see `BarLIP` and its neighbours.
        reduction: ``"mean"`` of the directions image to text and text to image, or their ``"sum"``, which doubles the
            contrast (and so counts beside an extra loss only).
        projector: in_dim -> head, made once per modality and used for all views; none by default.

    Raises:
        ConfigError: an encoder of one modality, an objective that does not compare embeddings, or a setting out of its
            range.

    Source: Fini et al. 2023 (arXiv 2305.08675) and the released code.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        local_objective: Objective | None = None,
        smoothing: float = 0.1,
        extra: ExtraName | None = None,
        weight: float | None = None,
        extra_options: dict[str, Any] | None = None,
        reduction: Reduction = "mean",
        projector: HeadFactory | None = None,
    ) -> None:
        super().__init__(encoder, objective, projector or nn.Identity)
        check_choice("Rocket.reduction", reduction, _REDUCTIONS)
        self.scale = _REDUCTIONS[reduction]
        self.extra = None if extra is None else _extra(extra, encoder, extra_options)
        shared = self.extra is not None and self.extra.shares_softmax
        if local_objective is None:
            if shared and smoothing:
                todo = "Its codes are soft labels already: set --method.smoothing 0."
                raise ConfigError(message("Rocket.smoothing", smoothing, f"0 beside {extra!r}", todo))
            local_objective = InfoNCE(temperature=0.1, learnable_temperature=True, label_smoothing=smoothing)
        require(self, local_objective)
        self.local_objective = local_objective
        for one in (self.objective, local_objective) if shared else ():
            if not hasattr(one, "temperature"):
                allowed = f"objectives with a temperature beside {extra!r}"
                raise ConfigError(message("Rocket: objective", type(one).__name__, allowed))
        published = 0.0 if self.extra is None else self.extra.weight
        self.weight = published if weight is None else weight
        if not self.weight >= 0:
            raise ConfigError(message("Rocket.weight", weight, "a number of at least 0, or None"))

    def step(self, views: list[View], batch: Batch) -> Step:
        """Contrast of the weak views, of the strong ones, and the extra loss.

        Raises:
            ShapeError: views that are not of exactly two modalities, or not of each one weak and then equally many
                strong ones.
        """
        sides = self.by_modality(views)
        encodings = self._encode(sides)
        first, second = embeddings = self._embeddings(sides, encodings)
        strong = len(first) - 1
        weak = self.compare(first[0], second[0], batch)
        local = self._strong(first[1:], second[1:], batch)
        loss = self.scale * (weak.loss if local is None else (weak.loss + strong * local.loss) / (1 + strong))
        extra = None
        if self.extra is not None:
            extra = self.extra(self._seen(sides, encodings, embeddings))
            loss = loss + self.weight * extra.loss
        parts = _parts(weak, local, extra)
        return Step(loss, parts, detached(first[0], second[0]), self._chance(strong, self.global_rows(batch)))

    def by_modality(self, views: list[View]) -> dict[str, list[View]]:
        """The views of each of the two modalities: the weak one, then the strong ones."""
        sides = super().by_modality(views)
        roles = [[view.role for view in side] for side in sides.values()]
        wanted = [["global"] + ["local"] * (len(roles[0]) - 1)] * 2
        if roles != wanted:
            found = "; ".join(f"{name}: {', '.join(own)}" for name, own in zip(sides, roles))
            allowed = "of each a global (weak) one, then as many local (strong) ones"
            raise ShapeError(message("Rocket: roles of the views", found, allowed))
        return sides

    def _encode(self, sides: Mapping[str, list[View]], encoder: nn.Module | None = None) -> list[list[Encoding]]:
        return [self.encode(side, encoder, pooled_only=True) for side in sides.values()]

    def _embeddings(self, sides: Mapping[str, list[View]], encodings: list[list[Encoding]]) -> Sides:
        first, second = (
            [self.project(view, encoding.pooled) for view, encoding in zip(side, own)]
            for side, own in zip(sides.values(), encodings)
        )
        return first, second

    def _strong(self, first: list[Tensor], second: list[Tensor], batch: Batch) -> Result | None:
        """Mean over all pairs of strong views; None where there are none."""
        if not first:
            return None
        return mean([self.compare(a, b, batch, self.local_objective) for a in first for b in second])

    def _seen(self, sides: Mapping[str, list[View]], encodings: list[list[Encoding]], embeddings: Sides) -> Seen:
        def of(found: list[list[Encoding]]) -> Sides:
            first, second = ([features(encoding) for encoding in own] for own in found)
            return first, second

        first, second = sides
        contrast = self.local_objective if len(embeddings[0]) > 1 else self.objective
        return Seen((first, second), of(encodings), embeddings, contrast, lambda e: of(self._encode(sides, e)))

    def _chance(self, strong: int, rows: int) -> float | None:
        levels = [self.objective.chance(rows), *[self.local_objective.chance(rows)] * strong]
        known = [level for level in levels if level is not None]
        beside = 0.0 if self.extra is None else self.extra.chance(rows)
        if len(known) < len(levels) or beside is None:
            return None
        return self.scale * sum(known) / len(known) + self.weight * beside

    def after_backward(self) -> None:
        """What the extra loss keeps still at first."""
        super().after_backward()
        if self.extra is not None and self.frozen(self.extra.freeze_share):
            self.extra.freeze()

    def after_step(self) -> None:
        """Keep the learnt temperatures at 1 or below (`InfoNCE` keeps them at 0.01 or above), and let a copy follow."""
        super().after_step()
        with torch.no_grad():
            for objective in (self.objective, self.local_objective):
                for name, parameter in objective.named_parameters():
                    if name == "temperature.log_scale":
                        parameter.clamp_(0, math.log(100))
        if self.extra is not None:
            self.extra.follow(self.encoder)


def _extra(name: str, encoder: Encoder, options: dict[str, Any] | None) -> Extra:
    check_choice("Rocket.extra", name, EXTRAS)
    return made("Rocket.extra_options", EXTRAS[name], encoder, options=options)


def _parts(weak: Result, local: Result | None, extra: Result | None) -> dict[str, Tensor]:
    """The terms, and what each tells: of the weak views under its own names, of the strong ones behind ``local_``."""
    told = {"global": weak.loss.detach(), **weak.parts}
    if local is not None:
        told |= {"local": local.loss.detach(), **{f"local_{name}": value for name, value in local.parts.items()}}
    if extra is not None:
        told |= {"extra": extra.loss.detach(), **extra.parts}
    return told
