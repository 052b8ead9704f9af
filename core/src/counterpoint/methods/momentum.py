"""The frame of the methods with a momentum twin: MoCo, BYOL, DINO."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.methods.base import HeadFactory, Method
from counterpoint.nn.momentum import MomentumTwin
from counterpoint.parts import Encoder
from counterpoint.types import View


class MomentumMethod(Method):
    """Encoder and projector, and a twin of both that follows them after every step.

    The twin is in training mode when the method is (MoCo, BYOL): it normalises by its own batch.

    Args:
        encoder: what is learnt.
        projector: in_dim -> head.
        momentum: m of the twin at the start.
        final_momentum: m at the end, reached along half a cosine.
    """

    def __init__(self, encoder: Encoder, projector: HeadFactory, momentum: float, final_momentum: float) -> None:
        super().__init__(encoder)
        self.projector = projector(encoder.dim)
        self.twin = MomentumTwin(self._branch(), momentum, final_momentum)

    def _branch(self) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": self.encoder, "projector": self.projector})

    def project(self, views: list[View]) -> list[Tensor]:
        """Embeddings of the online branch."""
        return [self.projector(pooled) for pooled in self.pooled(views)]

    @torch.no_grad()
    def project_twin(self, views: list[View]) -> list[Tensor]:
        """Embeddings of the twin, without gradients."""
        branch: nn.ModuleDict = self.twin.module  # type: ignore[assignment]
        return [branch["projector"](pooled) for pooled in self.pooled(views, branch["encoder"])]

    def after_step(self) -> None:
        """Let the twin follow."""
        super().after_step()
        self.twin.follow(self._branch(), self.total_steps)
