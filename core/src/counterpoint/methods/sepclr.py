"""SepCLR: two encoders, one for what background and targets have in common, one for what only the targets have."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from counterpoint.errors import ShapeError, message
from counterpoint.methods._common import detached
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.fit import require
from counterpoint.nn.heads import Projector
from counterpoint.nn.two_spaces import SPACES, TwoSpaces
from counterpoint.objectives import Objective
from counterpoint.objectives import SepCLR as Separation
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View

BACKGROUND = 0
"""Label of the background's samples; all above it are targets."""


class SepCLR(Method):
    """Separating common from salient patterns: a copy of the encoder for each space, a head each, one objective.

    ``counterpoint pretrain <plugin>/sepclr --background DIR --target DIR``: the only label is from which of the two a
    sample comes. The common head is normalised by the objective; the salient one is not, so that the background can go
    to the null vector. The run's encoder gives ``[common; salient]`` (`counterpoint.nn.TwoSpaces`); heads are thrown
    away. The two encoders begin with the same weights (the release draws or loads each) and share none afterwards:
    only ``C`` and ``entropy_weight * J`` move the common one, so the large weights of the salient terms do not drown it
    under Adam.

    Args:
        encoder: of the common space, and in a copy of the salient space.
        objective: SepCLR(salient_weight=1000, null_weight=1000, entropy_weight=10) by default.
        projector: in_dim -> head of each space; two layers, 128 hidden, 32 out by default (paper: as wide as the code).
        code: width of each space's code, by a linear map behind each encoder (paper: 32; 16 for faces); None: the
            encoder's own width.

    Raises:
        ConfigError: an encoder that cannot be copied or has several modalities, or an objective that does not separate
            two codes.

    Left out: the supervised variant, which aligns each salient dimension with a known attribute of the targets.

    Source: Louiset et al. 2024 (ICLR).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inductive", "unimodal"})
    contrasted: ClassVar[bool] = True
    calls_with: ClassVar[tuple[str, ...]] = ("common", "salient", "background")

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        code: int | None = 32,
    ) -> None:
        self._check_encoder(encoder)
        spaces = TwoSpaces.twice(encoder, code)
        super().__init__(spaces)
        self.code = code
        make = projector or partial(Projector, hidden_dim=128, out_dim=32)
        self.projectors = nn.ModuleDict({space: make(dim) for space, dim in zip(SPACES, spaces.widths)})
        self.objective = Separation() if objective is None else objective
        require(self, self.objective)

    @classmethod
    def saved(cls, encoder: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """Two of the plugin's encoders, in `TwoSpaces`."""
        arguments = {"encoders": [encoder, encoder], "dim": settings.get("code", 32)}
        return {"class_path": "counterpoint.nn.TwoSpaces", "init_args": arguments}

    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss over all views of background and targets.

        Raises:
            ShapeError: samples whose origin is not known.
        """
        background = self._background(batch)
        embeddings: dict[str, list[Tensor]] = {space: [] for space in SPACES}
        for pooled in self.pooled(views):
            for space, code in self.encoder.split(pooled).items():  # type: ignore[operator]
                embeddings[space].append(self.projectors[space](code))
        result = self.objective(*embeddings.values(), background, batch.content)
        pair = detached(*embeddings["common"][:2])
        return Step(result.loss, result.parts, pair, self.objective.chance(self.global_rows(batch)))

    def _background(self, batch: Batch) -> Tensor:
        label = batch.label
        if label is None or bool((label < BACKGROUND).any()):
            found = "None" if label is None else f"{int((label < BACKGROUND).sum())} unknown label(s)"
            todo = "Train with --background and --target."
            raise ShapeError(message("SepCLR: batch.label", found, "0 for background, above it for targets", todo))
        return label == BACKGROUND
