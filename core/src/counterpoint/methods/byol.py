"""BYOL: predict the momentum encoder's embedding of the other view; no negatives."""

from __future__ import annotations

from functools import partial

from counterpoint.methods.base import HeadFactory, head, width
from counterpoint.methods.momentum import MomentumMethod
from counterpoint.nn.heads import Predictor, Projector
from counterpoint.objectives import NegativeCosine, Objective
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class BYOL(MomentumMethod):
    """Bootstrap your own latent. The predictor and the slow target keep it from collapsing.

    Args:
        encoder: what is learnt.
        objective: 2 - 2 cosine by default.
        projector: in_dim -> head; two layers by default (paper: 4096 hidden, 256 out).
        predictor: out_dim -> head; two layers by default (paper: 4096 hidden).
        momentum: of the target at the start, rising to 1 (paper: 0.996 over 1000 epochs; short trainings want less).

    Source: Grill et al. 2020 (arXiv 2006.07733).
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        predictor: HeadFactory | None = None,
        momentum: float = 0.98,
    ) -> None:
        super().__init__(encoder, projector or partial(Projector, hidden_dim=512), momentum, 1.0)
        self.predictor = head(predictor, Predictor, width(self.projector, encoder.dim))
        self.objective = NegativeCosine() if objective is None else objective

    def step(self, views: list[View], batch: Batch) -> Step:
        """Predict each view's target from the other view."""
        embeddings, targets = self.project(views[:2]), self.project_twin(views[:2])
        predictions = [self.predictor(z) for z in embeddings]
        results = [self.objective(predictions[a], targets[1 - a]) for a in (0, 1)]
        pair = (embeddings[0].detach(), embeddings[1].detach())
        return Step(results[0].loss + results[1].loss, results[0].parts, pair)
