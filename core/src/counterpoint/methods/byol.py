"""BYOL: predict the momentum encoder's embedding of the other view; no negatives."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from counterpoint.methods._common import detached, mean, width
from counterpoint.methods.base import HeadFactory
from counterpoint.methods.fit import require
from counterpoint.methods.momentum import MomentumMethod
from counterpoint.nn.heads import Predictor, Projector
from counterpoint.objectives import NegativeCosine, Objective
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class BYOL(MomentumMethod):
    """Bootstrap your own latent. The predictor and the slow target keep it from collapsing.

    The loss is the sum of the two directions, as in the paper. The first two views are used.

    Args:
        encoder: what is learnt.
        objective: 2 - 2 cosine by default.
        projector: in_dim -> head; two layers, 512 hidden, 128 out by default (paper: 4096 hidden, 256 out).
        predictor: out_dim -> head; two layers, 512 hidden by default (paper: 4096 hidden).
        momentum: of the target at the start, rising to 1 (paper: 0.996 over 1000 epochs; short trainings want less).

    Raises:
        ConfigError: an objective that does not compare predictions with targets, or a momentum out of its range.

    Source: Grill et al. 2020 (arXiv 2006.07733).
    """

    calls_with: ClassVar[tuple[str, ...]] = ("predictions", "targets")

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        predictor: HeadFactory | None = None,
        momentum: float = 0.98,
    ) -> None:
        super().__init__(encoder, projector or partial(Projector, hidden_dim=512), momentum, 1.0)
        self.predictor = (predictor or Predictor)(width(self.projector, encoder.dim))
        self.objective = NegativeCosine() if objective is None else objective
        require(self, self.objective)

    def step(self, views: list[View], batch: Batch) -> Step:
        """Predict each view's target from the other view."""
        embeddings, targets = self.project(views[:2]), self.project_twin(views[:2])
        result = mean([self.objective(self.predictor(embeddings[a]), targets[1 - a]) for a in (0, 1)])
        return Step(2 * result.loss, result.parts, detached(embeddings[0], embeddings[1]))
