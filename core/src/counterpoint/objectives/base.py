"""What every objective is: a pure function, a thin module around it, and a declared reduction over ranks."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn

Reduction = Literal["gather", "mean"]


class Parts(MutableMapping[str, Tensor]):
    """Named detached scalars that are computed when one is first read: most steps are not logged.

    Args:
        later: computes them; must hold nothing that takes a gradient.
    """

    def __init__(self, later: Callable[[], Mapping[str, Tensor]]) -> None:
        self._later: Callable[[], Mapping[str, Tensor]] | None = later
        self._known: dict[str, Tensor] = {}

    def _all(self) -> dict[str, Tensor]:
        if self._later is not None:
            self._known = {**self._later(), **self._known}
            self._later = None
        return self._known

    def __getitem__(self, name: str) -> Tensor:
        return self._all()[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self._known[name] = value

    def __delitem__(self, name: str) -> None:
        del self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


@dataclass(slots=True)
class Result:
    """What an objective returns.

    Attributes:
        loss: scalar with gradient.
        parts: named detached scalars for the log and the monitors.
    """

    loss: Tensor
    parts: MutableMapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Embeddings -> scalar loss. Knows nothing of modality, training loop or files.

    ``reduction`` declares how several processes become one batch, so that nobody can forget it:

    - ``"gather"``: the loss couples samples (negatives, batch statistics); `objectives.gather` brings
      the other ranks' embeddings, with gradients, and the mean over ranks of the losses is the one-process loss at the
      whole batch. Under DDP, which averages gradients over ranks, the gradients are the one-process gradients too.
    - ``"mean"``: every sample's term stands alone; the plain mean over ranks is already right.

    Attributes:
        progress: share of the training that is done, 0 to 1, for what changes on the way (a warm-up). A `Method` sets
            it before each step; in a loop of your own set it yourself, else it stays at 0.
    """

    reduction: ClassVar[Reduction]
    progress: float = 0.0
    _seen: tuple[int, int] = (2, 0)  # views and queue rows of the last call, for `chance`

    def chance(self, batch_size: int) -> float | None:
        """Loss of a model that has learnt nothing, for ``batch_size`` samples over all ranks; None if there is none."""
        return None

    def _notice(self, embeddings: Sequence[Tensor], negatives: Tensor | None) -> None:
        """Remember how many candidates there are; a module's attributes are dear to set, so only when it changes."""
        seen = len(embeddings), 0 if negatives is None else len(negatives)
        if seen != self._seen:
            self._seen = seen
