"""Views of an interaction: its user and its item, each as a node of the graph under a perturbation of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.parts import Views
from counterpoint.types import Batch, View

LAST_DRAW = 2**62


class NodeViews(Views):
    """The user and the item of each interaction, in two noisy passes over the graph.

    ``view.data`` is ``{"node", "draw", "noise"}``, each ``(B,)``: the number of the user or item, int64; the seed of
    the pass's noise, int64, 0 for none; and the length of the noise, float32. A pass is an encoder's business, as it
    holds the graph. With these two views the core's SimCLR is the in-batch softmax of users against items, and its BYOL
    is BUIR; SGL, SimGCL and XSimGCL take draws from them and perturb by settings of their own.

    Args:
        noise: length of the signed noise added to a node's embedding in each layer (SimGCL's epsilon); 0: none.

    Raises:
        ConfigError: a negative ``noise``.
    """

    modalities = ("user", "item")

    def __init__(self, noise: float = 0.1) -> None:
        if not noise >= 0:
            raise ConfigError(message("noise", noise, "a number of at least 0"))
        self.noise = noise

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        """A view of the users and a view of the items, under two draws.

        Raises:
            ShapeError: a batch without users or without items.
        """
        draws = torch.randint(1, LAST_DRAW, (2,), generator=generator).tolist()
        return [_view(batch, name, draw, self.noise) for name, draw in zip(self.modalities, draws)]

    def plain(self, batch: Batch) -> list[View]:
        """The nodes that the batch has, without noise: both, or the items alone of a catalogue.

        Raises:
            ShapeError: a batch without either.
        """
        present = [name for name in self.modalities if name in batch.data]
        if not present:
            raise ShapeError(message("batch.data", list(batch.data), "user or item, or both"))
        return [_view(batch, name, 0, 0.0) for name in present]


def _view(batch: Batch, name: str, draw: int, noise: float) -> View:
    nodes: Any = batch.data.get(name)
    if not isinstance(nodes, Tensor) or nodes.dim() != 1:
        found = "nothing" if nodes is None else f"{type(nodes).__name__} {tuple(getattr(nodes, 'shape', ()))}"
        raise ShapeError(message(f"batch.data[{name!r}]", found, f"numbers of {name}s, (B,)"))
    nodes = nodes.long()
    data = {
        "node": nodes,
        "draw": torch.full_like(nodes, draw),
        "noise": torch.full_like(nodes, noise, dtype=torch.float32),
    }
    return View(data, name)
