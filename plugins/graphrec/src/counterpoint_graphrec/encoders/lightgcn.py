"""LightGCN: propagation over the normalised graph, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint_graphrec.encoders.base import GraphEncoder
from counterpoint_graphrec.graph import BipartiteGraph


class LightGCN(GraphEncoder):
    """``E^(k+1) = D^-1/2 A D^-1/2 E^k``, and the mean of the layers: no weights but the table, no non-linearity.

    With ``layers=0`` this is matrix factorisation. SimGCL and XSimGCL want ``first_layer=1``.

    Args:
        dim: width of the embeddings.
        layers: L.
        first_layer: first layer that counts.

    Source: He et al. 2020 (arXiv 2002.02126), eqs. 3 and 4.
    """

    def convolve(self, x: Tensor, graph: BipartiteGraph, layer: int, nodes: Tensor | None = None) -> Tensor:
        """The product with the normalised adjacency."""
        return graph.propagate(x) if nodes is None else graph.rows(x, nodes)

    @torch.no_grad()
    def fold_in(self) -> Tensor:
        """What each item gives to a newcomer, ``(n_items, dim)``.

        Somebody with the items S and no embedding in the table has the embedding ``sum over i in S of f[i] / sqrt|S|``.
        This is exact for a node that listens but is not heard: the items' layers and degrees stay as they are.

        Raises:
            ConfigError: ``layers=0``: without propagation nothing reaches a newcomer.
        """
        if self.layers == 0:
            todo = "Train with layers=1 or more to place newcomers."
            raise ConfigError(message("layers", 0, "at least 1", todo))
        layers = self._clean().layers
        # A newcomer's layer k + 1 is made of the items' layer k; their layer 0 is zero and counts if first_layer is 0.
        heard = layers[max(self.first_layer, 1) - 1 : -1]
        items = torch.stack([layer[self.n_users :] for layer in heard]).sum(dim=0)
        scale = self.graph.degrees[self.n_users :].clamp(min=1).to(items.dtype).rsqrt().unsqueeze(1)
        return items * scale / (self.layers + 1 - self.first_layer)
