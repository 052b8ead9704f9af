"""SimCLR: two views of a sample attract, everything else in the batch repels."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from counterpoint.methods._common import detached
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.fit import require, supervision
from counterpoint.nn.heads import Projector
from counterpoint.objectives import NTXent, Objective
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class SimCLR(Method):
    """A simple framework: encoder, projector, and any objective that compares views of a batch.

    Over an encoder of several towers of one width, with one view a modality, this is CLIP without the learnt
    temperature. The projector sees one view after the other, each with batch statistics of its own.

    Args:
        encoder: what is learnt.
        objective: NTXent(temperature=0.2) by default (paper: 0.1 to 0.5); DCL, BarlowTwins, …; SupCon (with labels),
            and those that take targets.
        projector: in_dim -> head; two layers, 256 hidden, 128 out by default (paper: 2048 hidden, 128 out).

    Raises:
        ConfigError: an objective that does not compare embeddings.

    Source: Chen et al. 2020 (arXiv 2002.05709).
    """

    calls_with: ClassVar[tuple[str, ...]] = ("embeddings",)
    supervised: ClassVar[bool] = True

    def __init__(
        self, encoder: Encoder, objective: Objective | None = None, projector: HeadFactory | None = None
    ) -> None:
        super().__init__(encoder)
        self.objective = NTXent(temperature=0.2) if objective is None else objective
        require(self, self.objective)
        self.projector = (projector or partial(Projector, hidden_dim=256))(encoder.dim)

    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss over all views; samples of equal content are never negatives of each other."""
        embeddings = [self.projector(pooled) for pooled in self.pooled(views)]
        result = self.objective(embeddings, batch.content, **supervision(self.objective, batch))
        pair = detached(embeddings[0], embeddings[1])
        return Step(result.loss, result.parts, pair, self.objective.chance(self.global_rows(batch)))
