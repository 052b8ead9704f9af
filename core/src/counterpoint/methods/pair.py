"""Pair: two modalities in one space, by symmetric InfoNCE with a learnt temperature (CLIP)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.methods._common import detached
from counterpoint.methods.base import HeadFactory, Method
from counterpoint.methods.fit import require, supervision
from counterpoint.nn.heads import Projector
from counterpoint.objectives import InfoNCE, Objective, Result
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Step, View


class Pair(Method):
    """Two encoders, one projector each, and an objective between the two.

    The first view of each of the two modalities is used.

    Args:
        encoder: `Towers`, or another encoder of several modalities that names their widths in ``dims``.
        objective: InfoNCE(temperature=0.07, learnable_temperature=True) by default (CLIP); Sigmoid for SigLIP.
        projector: in_dim -> head, made once per modality; a linear map to 128 by default (CLIP: to 512).

    Raises:
        ConfigError: an encoder of one modality, or an objective that does not compare embeddings.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 3.
    """

    needs = frozenset({"modalities"})
    head_per_tower = True
    calls_with: ClassVar[tuple[str, ...]] = ("embeddings",)
    supervised: ClassVar[bool] = True

    def __init__(
        self, encoder: Encoder, objective: Objective | None = None, projector: HeadFactory | None = None
    ) -> None:
        super().__init__(encoder)
        if objective is None:
            objective = InfoNCE(temperature=0.07, learnable_temperature=True)
        require(self, objective)
        self.objective = objective
        dims: dict[str, int] = getattr(encoder, "dims", {})
        if len(dims) < 2:
            allowed = "two modalities or more, with their widths in `dims`"
            found = f"{type(encoder).__name__} of {', '.join(dims)}"
            raise ConfigError(message(f"{type(self).__name__}: encoder", found, allowed))
        made = projector or partial(Projector, layers=1)
        self.projectors = nn.ModuleDict({name: made(dim) for name, dim in dims.items()})

    def step(self, views: list[View], batch: Batch) -> Step:
        """Symmetric loss between the first view of each of the two modalities.

        Raises:
            ShapeError: the views are not of exactly two modalities that the encoder has.
        """
        first = [same[0] for same in self.by_modality(views).values()]
        a, b = (self.project(view, pooled) for view, pooled in zip(first, self.pooled(first)))
        result = self.compare(a, b, batch)
        return Step(result.loss, result.parts, detached(a, b), self.objective.chance(self.global_rows(batch)))

    def compare(self, a: Tensor, b: Tensor, batch: Batch, objective: Objective | None = None) -> Result:
        """The loss between the two modalities' embeddings ``(B, D)``; by another objective than ``self.objective``."""
        chosen = self.objective if objective is None else objective
        result: Result = chosen((a, b), batch.content, **supervision(chosen, batch))
        return result

    def by_modality(self, views: list[View]) -> dict[str, list[View]]:
        """The views of each of the two modalities, in their order.

        Raises:
            ShapeError: they are not of exactly two modalities that the encoder has.
        """
        found: dict[str, list[View]] = {}
        for view in views:
            found.setdefault(view.modality, []).append(view)
        if len(found) != 2 or not all(name in self.projectors for name in found):
            name, known = type(self).__name__, ", ".join(self.projectors)
            raise ShapeError(message(f"{name}: modalities of the views", ", ".join(found), f"two of: {known}"))
        return found

    def project(self, view: View, pooled: Tensor) -> Tensor:
        """What the objective compares of a view's pooled encoding ``(B, D)``: by its modality's projector."""
        embedding: Tensor = self.projectors[view.modality](pooled)
        return embedding
