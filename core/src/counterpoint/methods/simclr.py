"""SimCLR: two views of a sample attract, everything else in the batch repels."""

from __future__ import annotations

from functools import partial

import torch

from counterpoint.methods.base import HeadFactory, Method, head
from counterpoint.nn.heads import Projector
from counterpoint.objectives import NTXent, Objective, SupCon
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class SimCLR(Method):
    """A simple framework: encoder, projector, and any objective that compares views of a batch.

    Over an encoder of several towers, with one view a modality, this is CLIP without the learnt temperature.

    Args:
        encoder: what is learnt.
        objective: NTXent(temperature=0.2) by default (paper: 0.1 to 0.5); DCL, SupCon (with labels), BarlowTwins, …
        projector: in_dim -> head; two layers by default (paper: 2048 hidden, 128 out).

    Source: Chen et al. 2020 (arXiv 2002.05709).
    """

    def __init__(
        self, encoder: Encoder, objective: Objective | None = None, projector: HeadFactory | None = None
    ) -> None:
        super().__init__(encoder)
        self.objective = NTXent(temperature=0.2) if objective is None else objective
        self.projector = head(projector, partial(Projector, hidden_dim=256), encoder.dim)

    def step(self, views: list[View], batch: Batch) -> Step:
        """Loss over all views; samples of equal content are never negatives of each other."""
        embeddings = [self.projector(encoding.pooled) for encoding in self.encode(views)]
        if isinstance(self.objective, SupCon):
            unknown = torch.full_like(batch.content, -1)
            result = self.objective(embeddings, batch.content, labels=unknown if batch.label is None else batch.label)
        else:
            result = self.objective(embeddings, batch.content)
        pair = (embeddings[0].detach(), embeddings[1].detach())
        return Step(result.loss, result.parts, pair, self.objective.chance(self.global_rows(batch)))
