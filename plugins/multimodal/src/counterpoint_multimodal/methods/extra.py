"""The non-contrastive losses between a picture and its text that CLIP-rocket was weighed against.

Each is a loss of vision (Barlow Twins, SimSiam, BYOL, SwAV) whose two views are of two modalities, so each modality has
heads of its own. All but SwALIP begin at the encoder's features, before its projection to the shared space; with
``separate_heads`` the strong views go through a second copy of these heads, as they do in the contrast.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, message
from counterpoint.methods._common import mean
from counterpoint.nn import MomentumTwin, Predictor, Projector, Prototypes
from counterpoint.objectives import (
    BarlowTwins,
    NegativeCosine,
    Result,
    SwappedPrediction,
    gather,
    sinkhorn,
    swapped_prediction,
)
from counterpoint.parts import Encoder
from counterpoint_multimodal.methods._common import feature_dims

Sides = tuple[list[Tensor], list[Tensor]]
"""Of each of the two modalities one ``(B, …)`` a view: the weak one, then the N strong ones."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one step knows.

    Attributes:
        modalities: of the two sides.
        features: ``(B, F)`` a view.
        embeddings: ``(B, D)`` a view, as the contrast compares them, of any length.
        contrast: the objective between the strong views, between the weak ones where there are no others.
        encode: another encoder -> its features of the same views.
    """

    modalities: tuple[str, str]
    features: Sides
    embeddings: Sides
    contrast: nn.Module
    encode: Callable[[nn.Module], Sides]

    def pairs(self) -> list[tuple[int, int]]:
        """Views that are compared: weak with weak, and each strong one with each strong one."""
        return [(0, 0), *self.strong()]

    def strong(self) -> list[tuple[int, int]]:
        """The strong ones of these; none where only weak views are made."""
        numbers = range(1, len(self.features[0]))
        return list(product(numbers, numbers))


class Extra(nn.Module, ABC):
    """A loss beside the contrast.

    Attributes:
        weight: of it beside the contrast, as published.
        shares_softmax: whether it uses the contrast's temperature; the contrast then smooths no labels.
        freeze_share: share of the training, from its start, in which `freeze` is called.
    """

    weight: ClassVar[float] = 1.0
    shares_softmax: ClassVar[bool] = False
    freeze_share: float = 0.0

    @abstractmethod
    def forward(self, seen: Seen) -> Result:
        """The loss, before its weight."""

    def chance(self, batch_size: int) -> float | None:
        """Its value where nothing was learnt; None if there is no such level."""
        return None

    def freeze(self) -> None:
        """Between backward and the optimiser's step: drop gradients of what stands still at first."""

    def follow(self, encoder: Encoder) -> None:
        """After the optimiser's step."""


class BarLIP(Extra):
    """Barlow Twins: each dimension of the image's head correlates with the same one of the text's, and only with it.

    The paper's heads end in a batch norm. The objective standardises each dimension over the batch of all ranks, which
    is that norm.

    Args:
        encoder: whose features are taken.
        redundancy: weight of the entries beside the diagonal.
        hidden_dim: of the heads (paper: 3000).
        out_dim: of the heads (paper: 8192 at batch 4096; on a small batch so many correlations are noise).
        separate_heads: heads of their own for the strong views (the released code's ``separate_proj_child``).
    """

    weight = 0.025

    def __init__(
        self,
        encoder: Encoder,
        redundancy: float = 0.005,
        hidden_dim: int = 512,
        out_dim: int = 512,
        separate_heads: bool = False,
    ) -> None:
        super().__init__()
        projector = partial(Projector, hidden_dim=hidden_dim, out_dim=out_dim, layers=3)
        self.projectors = _heads(encoder, projector, separate_heads)
        self.objective = BarlowTwins(redundancy)

    def forward(self, seen: Seen) -> Result:
        """Mean over the pairs of views."""
        first, second = _through(self.projectors, seen.modalities, seen.features)
        return mean([self.objective((first[i], second[j])) for i, j in seen.pairs()])

    def chance(self, batch_size: int) -> float | None:
        """No correlation at all."""
        return self.objective.chance(batch_size)


class SiamLIP(Extra):
    """SimSiam: a prediction from each modality meets the other one's projection behind a stop-gradient.

    ``D(p, v) = 2 - 2 cos(p, v)``, averaged over both directions of every pair of views.

    Args:
        encoder: whose features are taken.
        hidden_dim: of projectors and predictors (paper: 2048).
        out_dim: of the projectors.
        separate_heads: heads of their own for the strong views (the released code's ``separate_proj_child``).
    """

    def __init__(
        self, encoder: Encoder, hidden_dim: int = 512, out_dim: int = 128, separate_heads: bool = False
    ) -> None:
        super().__init__()
        projector = partial(Projector, hidden_dim=hidden_dim, out_dim=out_dim, last_norm=True)
        self.projectors = _heads(encoder, projector, separate_heads)
        self.predictors = nn.ModuleDict({name: Predictor(out_dim, hidden_dim) for name in self.projectors})
        self.objective = NegativeCosine("byol")

    def forward(self, seen: Seen) -> Result:
        """Mean over both directions of the pairs of views."""
        projected = _through(self.projectors, seen.modalities, seen.features)
        first, second = _through(self.predictors, seen.modalities, projected)
        targets = self.targets(seen, projected)
        results = [self.objective(first[i], targets[1][j]) for i, j in seen.pairs()]
        results += [self.objective(second[j], targets[0][i]) for i, j in seen.pairs()]
        return mean(results)

    def targets(self, seen: Seen, projected: Sides) -> Sides:
        """What is predicted: the projections themselves (`NegativeCosine` takes no gradient from them)."""
        return projected


class BYOLIP(SiamLIP):
    """BYOL: as `SiamLIP`, but what is predicted comes from a copy of encoder and projectors that follows slowly.

    The copy stays in training mode; batch norm's running statistics are copied, see `MomentumTwin`.

    Args:
        encoder: whose features are taken, and which is followed.
        hidden_dim: of projectors and predictors (paper: 2048).
        out_dim: of the projectors.
        momentum: of the copy, constant.
        separate_heads: heads of their own for the strong views (the released code's ``separate_proj_child``).
    """

    def __init__(
        self,
        encoder: Encoder,
        hidden_dim: int = 512,
        out_dim: int = 128,
        momentum: float = 0.99,
        separate_heads: bool = False,
    ) -> None:
        super().__init__(encoder, hidden_dim, out_dim, separate_heads)
        self.twin = MomentumTwin(self._branch(encoder), momentum, momentum)

    def _branch(self, encoder: Encoder) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": encoder, "projectors": self.projectors})

    @torch.no_grad()
    def targets(self, seen: Seen, projected: Sides) -> Sides:
        """The copy's projections."""
        branch: nn.ModuleDict = self.twin.module  # type: ignore[assignment]
        projectors: nn.ModuleDict = branch["projectors"]  # type: ignore[assignment]
        return _through(projectors, seen.modalities, seen.encode(branch["encoder"]))

    def follow(self, encoder: Encoder) -> None:
        """Let the copy follow."""
        self.twin.follow(self._branch(encoder), 0)


class SwALIP(Extra):
    """SwAV without prototypes of its own: the other modality's batch plays them.

    With ``S[i, j] = h_i G_j^T`` of strong view ``i`` of one modality and ``j`` of the other, codes
    ``Q[i, j] = sinkhorn(S[i, j])``, and ``H`` the cross-entropy::

        L = 1/2 sum over both directions of  1/N^2 sum_{i, j} H(Q[i + 1, j + 1], softmax(S[i, j] / temperature))

    where ``i + 1`` is the other of two views, and of one itself; of more, the next one and the one before take turns.
    Where there are only weak views they are compared. Has no heads: the embeddings and the temperature are the
    contrast's. Near-duplicates in a batch compete for the same samples, so it wants a batch well above their number.

    Args:
        encoder: not used; what stands for all of these losses.
        epsilon: entropy of the codes.
        iterations: of Sinkhorn.
    """

    weight = 0.2
    shares_softmax = True

    def __init__(self, encoder: Encoder, epsilon: float = 0.05, iterations: int = 3) -> None:
        super().__init__()
        self.epsilon, self.iterations = epsilon, iterations

    def forward(self, seen: Seen) -> Result:
        """Mean of both directions."""
        wanted = slice(1, None) if seen.strong() else slice(None)
        first, second = ([F.normalize(rows, dim=1) for rows in side[wanted]] for side in seen.embeddings)
        temperature = seen.contrast.temperature()  # type: ignore[operator]
        return mean([self._assign(first, second, temperature), self._assign(second, first, temperature)])

    def _assign(self, rows: list[Tensor], prototypes: list[Tensor], temperature: float | Tensor) -> Result:
        number = len(rows)
        everyone = [gather(prototype) for prototype in prototypes]
        scores = {(i, j): rows[i] @ everyone[j].T for i, j in product(range(number), range(number))}
        codes = {pair: sinkhorn(score, self.epsilon, self.iterations) for pair, score in scores.items()}
        results = []
        for i, j in scores:
            pairs = [(i, j), ((i + 1) % number, (j + 1) % number)]
            logits = [scores[pair] / temperature for pair in pairs]
            results.append(swapped_prediction(logits, [codes[pair] for pair in pairs], temperature=1.0))
        return mean(results)

    def chance(self, batch_size: int) -> float | None:
        """Uniform codes and predictions."""
        return math.log(batch_size)


class SwALIPV1(Extra):
    """SwAV with prototypes that are learnt: the code of each modality is foreseen by the other one.

    With scores ``s = C v`` of projections ``v`` and prototypes ``C``, both of length 1, and codes ``Q = sinkhorn(s)``::

        L = mean over the pairs of views of  1/2 [H(Q_image, softmax(s_text / t)) + H(Q_text, softmax(s_image / t))]

    Both modalities share the prototypes, which stand still in the first ``freeze_share`` of the training. The
    projectors are those of `SiamLIP`, with BatchNorm at the end, for the reason told at `counterpoint.methods.SwAV`.
    The variant is in the released code only; no weight of its own is published, so it takes that of `SwALIP`.

    Args:
        encoder: whose features are taken.
        hidden_dim: of the projectors.
        out_dim: of the projectors (code: 128).
        prototypes: their number (code: 3000, at batch 4096).
        temperature: of the predictions.
        epsilon: entropy of the codes.
        iterations: of Sinkhorn.
        freeze_share: see above (code: the first 100 steps).
        separate_heads: heads of their own for the strong views (the released code's ``separate_proj_child``).
    """

    weight = 0.2

    def __init__(
        self,
        encoder: Encoder,
        hidden_dim: int = 512,
        out_dim: int = 128,
        prototypes: int = 64,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        freeze_share: float = 0.05,
        separate_heads: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= freeze_share <= 1:
            raise ConfigError(message("SwALIPV1.freeze_share", freeze_share, "a share from 0 to 1"))
        projector = partial(Projector, hidden_dim=hidden_dim, out_dim=out_dim, last_norm=True)
        self.projectors = _heads(encoder, projector, separate_heads)
        self.prototypes = Prototypes(out_dim, prototypes)
        self.objective = SwappedPrediction(temperature, epsilon, iterations)
        self.freeze_share = freeze_share

    def forward(self, seen: Seen) -> Result:
        """Mean over the pairs of views."""
        if self.training:
            self.prototypes.normalise()
        first, second = (
            [self.prototypes(F.normalize(rows, dim=1)) for rows in side]
            for side in _through(self.projectors, seen.modalities, seen.features)
        )
        return mean([self.objective([first[i], second[j]]) for i, j in seen.pairs()])

    def chance(self, batch_size: int) -> float | None:
        """Uniform codes and predictions."""
        return math.log(len(self.prototypes.weight))

    def freeze(self) -> None:
        """Let the prototypes stand still in this step."""
        self.prototypes.freeze()


EXTRAS: Mapping[str, type[Extra]] = {
    "barlip": BarLIP,
    "siamlip": SiamLIP,
    "byolip": BYOLIP,
    "swalip": SwALIP,
    "swalipv1": SwALIPV1,
}
_STRONG = "_strong"


def _heads(encoder: Encoder, made: Callable[[int], nn.Module], separate: bool) -> nn.ModuleDict:
    """One head a modality; with ``separate`` a second one each, for the strong views."""
    copies = ("", _STRONG) if separate else ("",)
    return nn.ModuleDict({name + copy: made(dim) for copy in copies for name, dim in feature_dims(encoder).items()})


def _through(heads: nn.ModuleDict, modalities: tuple[str, str], sides: Sides) -> Sides:
    """Each side through its modality's head, view by view: the weak one, then the strong ones."""

    def through(name: str, side: list[Tensor]) -> list[Tensor]:
        strong = name + _STRONG if name + _STRONG in heads else name
        return [heads[strong if number else name](rows) for number, rows in enumerate(side)]

    first, second = (through(name, side) for name, side in zip(modalities, sides))
    return first, second
