"""Pair: two modalities in one space, by symmetric InfoNCE with a learnt temperature (CLIP)."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from counterpoint.errors import ShapeError, message
from counterpoint.methods.base import HeadFactory, Method, head
from counterpoint.nn.heads import Projector
from counterpoint.objectives import InfoNCE, Objective
from counterpoint.parts import Encoder, Towers
from counterpoint.types import Batch, Step, View


class Pair(Method):
    """Two encoders, one projector each, and an objective between the two.

    Args:
        encoder: `Towers` (or another encoder with several modalities that names their widths in ``dims``).
        objective: InfoNCE(temperature=0.07, learnable_temperature=True) by default (CLIP); Sigmoid for SigLIP.
        projector: in_dim -> head, made once per modality; a linear map by default (CLIP).

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 3.
    """

    needs = frozenset({"modalities"})

    def __init__(
        self, encoder: Encoder, objective: Objective | None = None, projector: HeadFactory | None = None
    ) -> None:
        super().__init__(encoder)
        if objective is None:
            objective = InfoNCE(temperature=0.07, learnable_temperature=True)
        self.objective = objective
        dims = encoder.dims if isinstance(encoder, Towers) else getattr(encoder, "dims", {})
        linear = partial(Projector, layers=1)
        self.projectors = nn.ModuleDict({name: head(projector, linear, dim) for name, dim in dims.items()})

    def step(self, views: list[View], batch: Batch) -> Step:
        """Symmetric loss between the first view of each of the two modalities.

        Raises:
            ShapeError: the views are not of exactly two modalities that the encoder has.
        """
        first: dict[str, View] = {}
        for view in views:
            first.setdefault(view.modality, view)
        if len(first) != 2 or not all(name in self.projectors for name in first):
            known = ", ".join(self.projectors)
            raise ShapeError(message("Pair: modalities of the views", ", ".join(first), f"two of: {known}"))
        a, b = self._embed(list(first.values()))
        result = self.objective((a, b), batch.content)
        return Step(result.loss, result.parts, (a.detach(), b.detach()), self.objective.chance(self.global_rows(batch)))

    def _embed(self, views: list[View]) -> list[Tensor]:
        encodings = self.encode(views)
        return [self.projectors[view.modality](e.pooled) for view, e in zip(views, encodings)]
