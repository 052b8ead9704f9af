"""Any message-passing layer of torch-geometric by its name."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, message, nearest
from counterpoint_graphrec.encoders.base import GraphEncoder
from counterpoint_graphrec.graph import BipartiteGraph


class PyGConv(GraphEncoder):
    """Layers of ``torch_geometric.nn`` over the graph of interactions, both directions of each edge.

    As in LightGCN there is a table of embeddings, nothing stands between the layers, and the mean of the layers counts.
    ``PyGConv("LGConv")`` is `LightGCN`, many times slower on a CPU: torch-geometric goes edge by edge.

    Args:
        name: of a layer that takes node features and an ``edge_index``: ``SAGEConv``, ``GATv2Conv``, ``LGConv``, …
        dim: width of the embeddings and of every layer.
        layers: L.
        first_layer: first layer that counts.
        options: further arguments of the layer, e.g. ``{"aggr": "max"}``.

    Raises:
        ConfigError: an unknown name (with the nearest one), options or a layer that do not fit.
    """

    def __init__(
        self,
        name: str = "SAGEConv",
        dim: int = 64,
        layers: int = 2,
        first_layer: int = 0,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(dim, layers, first_layer)
        self.convolutions = nn.ModuleList(_layer(name, dim, options or {}) for _ in range(layers))

    def convolve(self, x: Tensor, graph: BipartiteGraph, layer: int, nodes: Tensor | None = None) -> Tensor:
        """Layer number ``layer`` of torch-geometric."""
        users, items = graph.users.long(), graph.items.long() + graph.n_users
        both = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
        found: Tensor = self.convolutions[layer - 1](x, both)
        return found if nodes is None else found[nodes]


def _layer(name: str, dim: int, options: dict[str, Any]) -> nn.Module:
    from torch_geometric import nn as geometric  # takes seconds, and only this encoder needs it

    known = [key for key in geometric.conv.__all__ if issubclass(getattr(geometric, key), geometric.MessagePassing)]
    if name not in known:
        raise ConfigError(
            message("name", repr(name), "a message-passing layer of torch_geometric.nn", nearest(name, known).strip())
        )
    cls = getattr(geometric, name)
    takes = inspect.signature(cls.__init__).parameters
    widths = {key: dim for key in ("in_channels", "out_channels", "channels") if key in takes and key not in options}
    try:
        layer: nn.Module = cls(**widths, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(message("options", options, f"arguments of {name} in torch-geometric", str(error))) from None
    _try(layer, name, dim)
    return layer


@torch.no_grad()
def _try(layer: nn.Module, name: str, dim: int) -> None:
    """See on two nodes whether the layer is of the kind that is wanted."""
    try:
        found: Any = tuple(layer.eval()(torch.zeros(2, dim), torch.tensor([[0, 1], [1, 0]])).shape)
    except Exception as error:  # each layer has its own way to miss what it needs
        found = f"{type(error).__name__}: {error}"
    layer.train()
    if found != (2, dim):
        told = f"{name}, which gives {found} for two nodes"
        raise ConfigError(message("name", told, f"a layer of node features and edge_index that keeps the width {dim}"))
