"""VICReg: keep the views equal, the variance up, and the dimensions apart."""

from __future__ import annotations

from functools import partial

from counterpoint.methods.base import HeadFactory
from counterpoint.methods.simclr import SimCLR
from counterpoint.nn.heads import Projector
from counterpoint.objectives import Objective
from counterpoint.objectives import VICReg as VICRegObjective
from counterpoint.parts import Encoder


class VICReg(SimCLR):
    """SimCLR's frame with the variance-invariance-covariance objective and a wide, three-layer projector.

    Args:
        encoder: what is learnt.
        objective: the VICReg objective by default.
        projector: in_dim -> head; 3 layers of 512 by default (paper: 8192).

    Raises:
        ConfigError: an objective that does not compare embeddings.

    Source: Bardes et al. 2022 (arXiv 2105.04906).
    """

    def __init__(
        self, encoder: Encoder, objective: Objective | None = None, projector: HeadFactory | None = None
    ) -> None:
        wide = partial(Projector, hidden_dim=512, out_dim=512, layers=3)
        super().__init__(encoder, VICRegObjective() if objective is None else objective, projector or wide)
