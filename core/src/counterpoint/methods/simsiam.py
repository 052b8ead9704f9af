"""SimSiam: predict the other view's embedding behind a stop-gradient; no negatives, no momentum."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from counterpoint.methods._common import detached, mean, width
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.fit import require
from counterpoint.nn.heads import Predictor, Projector
from counterpoint.objectives import NegativeCosine, Objective
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class SimSiam(Method):
    """Simple siamese networks. The stop-gradient on the target keeps it from collapsing.

    The loss is the mean of the two directions, as in the paper. The first two views are used.

    Args:
        encoder: what is learnt.
        objective: minus the cosine by default.
        projector: in_dim -> head; 3 layers of 512 with a last BatchNorm by default (paper: 2048 everywhere).
        predictor: out_dim -> head; a bottleneck of a quarter by default (paper: 512).

    Raises:
        ConfigError: an objective that does not compare predictions with targets.

    Source: Chen & He 2021 (arXiv 2011.10566).
    """

    calls_with: ClassVar[tuple[str, ...]] = ("predictions", "targets")

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        projector: HeadFactory | None = None,
        predictor: HeadFactory | None = None,
    ) -> None:
        super().__init__(encoder)
        default = partial(Projector, hidden_dim=512, out_dim=512, layers=3, last_norm=True)
        self.projector = (projector or default)(encoder.dim)
        out_dim = width(self.projector, encoder.dim)
        self.predictor = (predictor or partial(Predictor, hidden_dim=max(1, out_dim // 4)))(out_dim)
        self.objective = NegativeCosine(normalisation="simsiam") if objective is None else objective
        require(self, self.objective)

    def step(self, views: list[View], batch: Batch) -> Step:
        """Mean of both directions."""
        embeddings = [self.projector(pooled) for pooled in self.pooled(views[:2])]
        result = mean([self.objective(self.predictor(embeddings[a]), embeddings[1 - a].detach()) for a in (0, 1)])
        return Step(result.loss, result.parts, detached(embeddings[0], embeddings[1]))
