"""What every objective is: a pure function, a thin module around it, and a declared reduction over ranks."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn

Reduction = Literal["gather", "mean"]


@dataclass(slots=True)
class Result:
    """What an objective returns.

    Attributes:
        loss: scalar with gradient.
        parts: named detached scalars for the log and the monitors.
    """

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Embeddings -> scalar loss. Knows nothing of modality, training loop or files.

    ``reduction`` declares how several processes become one batch, so that nobody can forget it:

    - ``"gather"``: the loss couples samples (negatives, batch statistics); `objectives.gather` brings
      the other ranks' embeddings, with gradients, and the mean over ranks of the losses is the one-process loss at the
      whole batch. Under DDP, which averages gradients over ranks, the gradients are the one-process gradients too.
    - ``"mean"``: every sample's term stands alone; the plain mean over ranks is already right.
    """

    reduction: ClassVar[Reduction]

    def chance(self, batch_size: int) -> float | None:
        """Loss of a model that has learnt nothing, for ``batch_size`` samples over all ranks; None if there is none."""
        return None
