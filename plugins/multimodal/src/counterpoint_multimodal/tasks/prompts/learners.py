"""Prompt learners: what is seen of an image -> the context tokens before a class's name.

=========  =======================================================================================
`CoOp`     one learnt context for all images and classes (Zhou et al. 2022a, arXiv 2109.01134)
`CoCoOp`   moved by a small network on the image's embedding (Zhou et al. 2022b, arXiv 2203.05557)
`GOPro`    moved by content and style of every layer, made consistent by two losses (arXiv 2308.11605)
=========  =======================================================================================

Shapes: ``B`` images, ``M`` context tokens, ``W`` width of the token embeddings, ``D`` of the shared space, ``L`` layers
of the image tower with ``F`` features each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, message
from counterpoint_multimodal.tasks.prompts.seen import Seen


class PromptLearner(nn.Module, ABC):
    """Base: ``M`` context tokens that start as the embedding of a phrase such as "a photo of a".

    Args:
        start: ``(M, W)`` embedded tokens of the phrase.
        dim: D.
        layers: F of each layer of the image tower, first to last.

    Attributes:
        statistics: whether it looks at the layers of the image tower.
        views: views of an image that a training step needs: one, or the three that GOPro compares.
    """

    statistics: ClassVar[bool] = False
    views: ClassVar[int] = 1

    def __init__(self, start: Tensor, dim: int, layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.context = nn.Parameter(start.detach().float().clone())

    @abstractmethod
    def forward(self, seen: Seen) -> Tensor:
        """Context ``(B, M, W)``, or ``(1, M, W)`` where it is the same for all images."""

    def image(self, seen: Seen) -> Tensor:
        """``(B, D)`` of length 1: what of the image is compared with the prompts."""
        return seen.feature


class _PerImage(PromptLearner):
    """Base of the learners that move all context tokens by one vector per image."""

    def forward(self, seen: Seen) -> Tensor:
        """``(B, M, W)``."""
        return self.context[None] + self.shift(seen)[:, None]

    @abstractmethod
    def shift(self, seen: Seen) -> Tensor:
        """``(B, W)``: by how much each image moves the context."""


class CoOp(PromptLearner):
    """The same context for every image: strong on the classes that it was learnt on, often weak on new ones."""

    def forward(self, seen: Seen) -> Tensor:
        """``(1, M, W)``."""
        return self.context[None]


class CoCoOp(_PerImage):
    """All context tokens move by one vector that two linear layers make of the image's embedding.

    Args:
        start: see `PromptLearner`.
        dim: D.
        layers: not used.
        reduction: the hidden layer has ``D / reduction`` units, 16 in the paper.
    """

    def __init__(self, start: Tensor, dim: int, layers: Sequence[int] = (), reduction: int = 16) -> None:
        super().__init__(start, dim, layers)
        if not isinstance(reduction, int) or reduction < 1:
            raise ConfigError(message("reduction", repr(reduction), "a whole number of at least 1"))
        hidden = max(dim // reduction, 1)
        self.meta = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, start.shape[1]))

    def shift(self, seen: Seen) -> Tensor:
        """``(B, W)``."""
        moved: Tensor = self.meta(seen.feature)
        return moved


class GOPro(_PerImage):
    """Content and style of the image tower's layers move the context.

    With tokens ``Z_l`` after layer l, their mean ``mu_l`` and standard deviation ``sigma_l``::

        u_l = (W^c_l mu_l + W^s_l (mu_l + sigma_l) / 2) / 2
        shift = sum over l of rho_l u_l + b

    ``rho`` and ``b`` start at zero (the released code draws them), so that training starts at CoOp's start: the phrase.
    A projector ``P_v`` (linear and BatchNorm) of the image's embedding takes the visual contrast. As the image tower is
    frozen, that loss reaches ``P_v`` alone; with ``ce_on_projected`` the classes are told by the projected image, as in
    the paper's figure, and it matters.

    Args:
        start: see `PromptLearner`.
        dim: D.
        layers: F of each layer.
        content: whether the mean is used.
        style: whether ``(mu + sigma) / 2`` is used.
        depth: ``"all"`` layers, or the ``"last"`` alone.
        ce_on_projected: compare the prompts with ``f + P_v(f)``, of length 1, in place of ``f``.

    Raises:
        ConfigError: neither content nor style, another depth, or an image tower without layers.
    """

    statistics = True
    views = 3

    def __init__(
        self,
        start: Tensor,
        dim: int,
        layers: Sequence[int] = (),
        content: bool = True,
        style: bool = True,
        depth: Literal["all", "last"] = "all",
        ce_on_projected: bool = False,
    ) -> None:
        super().__init__(start, dim, layers)
        if not (content or style):
            raise ConfigError(message("content, style", "neither", "one of them at least"))
        if depth not in ("all", "last"):
            raise ConfigError(message("depth", repr(depth), '"all" or "last"'))
        if not layers:
            raise ConfigError(message("encoder", "an image tower without layers", "one that gives tokens per layer"))
        self.skipped = len(layers) - 1 if depth == "last" else 0
        used, width = layers[self.skipped :], start.shape[1]
        self.content = nn.ModuleList(nn.Linear(features, width) for features in used if content)
        self.style = nn.ModuleList(nn.Linear(features, width) for features in used if style)
        self.rho = nn.Linear(len(used), 1)
        nn.init.zeros_(self.rho.weight)
        nn.init.zeros_(self.rho.bias)
        self.projector = nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim))
        self.ce_on_projected = ce_on_projected

    def shift(self, seen: Seen) -> Tensor:
        """``(B, W)``."""
        kinds = [(self.content, seen.content), (self.style, seen.style)]
        mixed = [
            torch.stack([linear(rows) for linear, rows in zip(linears, found[self.skipped :], strict=True)], dim=-1)
            for linears, found in kinds
            if len(linears)
        ]
        moved: Tensor = self.rho(torch.stack(mixed).mean(dim=0)).squeeze(-1)
        return moved

    def project(self, seen: Seen) -> Tensor:
        """``(B, D)``: ``P_v`` of the image's embedding, for the visual contrast."""
        projected: Tensor = self.projector(seen.feature)
        return projected

    def image(self, seen: Seen) -> Tensor:
        """``(B, D)`` of length 1: the image's embedding, or with its projection (``ce_on_projected``)."""
        return F.normalize(seen.feature + self.project(seen), dim=1) if self.ce_on_projected else seen.feature


LEARNERS: dict[str, type[PromptLearner]] = {"coop": CoOp, "cocoop": CoCoOp, "gopro": GOPro}
"""By the name that `PromptClasses` takes."""
