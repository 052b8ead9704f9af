"""Barlow Twins: make the cross-correlation of two views' embeddings the identity."""

from __future__ import annotations

from functools import partial

from counterpoint.methods.base import HeadFactory
from counterpoint.methods.simclr import SimCLR
from counterpoint.nn.heads import Projector
from counterpoint.objectives import BarlowTwins as BarlowTwinsObjective
from counterpoint.objectives import Objective
from counterpoint.parts import Encoder


class BarlowTwins(SimCLR):
    """SimCLR's frame with the redundancy-reduction objective and a wide, three-layer projector.

    Args:
        encoder: what is learnt.
        objective: the Barlow Twins objective by default.
        projector: in_dim -> head; 3 layers of 512 by default (paper: 8192).

    Raises:
        ConfigError: an objective that does not compare embeddings.

    Source: Zbontar et al. 2021 (arXiv 2103.03230).
    """

    def __init__(
        self, encoder: Encoder, objective: Objective | None = None, projector: HeadFactory | None = None
    ) -> None:
        wide = partial(Projector, hidden_dim=512, out_dim=512, layers=3)
        super().__init__(encoder, BarlowTwinsObjective() if objective is None else objective, projector or wide)
