"""What SGL, SimGCL and XSimGCL share: an objective between two embeddings of the batch's nodes, and its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint.methods.fit import require
from counterpoint.objectives import InfoNCE, Objective
from counterpoint.objectives.base import Parts, Result
from counterpoint.parts import Encoder
from counterpoint_graphrec.methods.base import Asked, GraphMethod, Passed, Regularisation, at_least


class ContrastiveMethod(GraphMethod):
    """BPR, and a contrast between two embeddings of each node: users among users, items among items.

    Each set holds a node once, however often it is in the batch; the two terms are added.

    Args:
        encoder: see `GraphMethod`.
        objective: InfoNCE of one direction at ``temperature`` by default; DCL, NTXent, BarlowTwins, … as well.
        weight: of the contrast (lambda).
        temperature: of the default objective; an ``objective`` has its own.
        regularisation: see `GraphMethod`.
        lambda2: likewise.
        negatives: likewise.

    Raises:
        ConfigError: an objective that does not compare embeddings, or does so by labels, which nodes do not have; an
            encoder without layers; or a setting out of its range.
    """

    calls_with: ClassVar[tuple[str, ...]] = ("embeddings",)

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        weight: float = 0.2,
        temperature: float = 0.2,
        regularisation: Regularisation = "embedding",
        lambda2: float = 1e-4,
        negatives: int = 1,
    ) -> None:
        super().__init__(encoder, regularisation, lambda2, negatives)
        at_least(0, weight=weight)
        if self.encoder.layers == 0:
            raise ConfigError(message(f"{type(self).__name__}: encoder.layers", 0, "at least 1"))
        self.objective = InfoNCE(temperature, symmetric=False) if objective is None else objective
        require(self, self.objective)
        self.weight = weight

    def contrast(
        self, layers: list[Tensor], first: Tensor, second: Tensor, asked: Asked, joint: bool = False
    ) -> Passed:
        """The term between ``(R, dim)`` rows of two embeddings.

        Args:
            layers: what is ranked.
            first: anchors.
            second: their partners and the other candidates.
            asked: whose sets are taken.
            joint: users and items are one set, in which a user's negatives are items too.
        """
        sets, totals = list(asked.sets), list(asked.totals)
        if joint:
            sets, totals = [torch.cat(sets)], [sum(totals)]
        # A node alone has nothing to be told apart from: its term is 0, which not every objective would say.
        found = [(own, total) for own, total in zip(sets, totals) if total > 1]
        results = [self.objective((first.index_select(0, own), second.index_select(0, own))) for own, _ in found]
        levels = [self.objective.chance(total) for _, total in found]
        known = [level for level in levels if level is not None]
        return Passed(layers, _sum(results, first), sum(known) if len(known) == len(levels) else None)


def _sum(results: Sequence[Result], rows: Tensor) -> Result:
    """Sum of the losses, means of the parts."""
    if not results:
        return Result(rows.new_zeros(()))
    loss, parts = torch.stack([result.loss for result in results]).sum(), [result.parts for result in results]
    return Result(loss, Parts(lambda: {name: torch.stack([p[name] for p in parts]).mean() for name in parts[0]}))
