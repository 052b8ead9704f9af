"""SGL: the nodes of two randomly thinned graphs attract, beside a pass over the whole graph that is ranked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message, unknown
from counterpoint.objectives import Objective
from counterpoint.objectives.gather import world_size
from counterpoint.parts import Encoder
from counterpoint_graphrec.graph import BipartiteGraph, drop_edges, drop_nodes
from counterpoint_graphrec.methods.base import Asked, Passed, Regularisation
from counterpoint_graphrec.methods.contrast import ContrastiveMethod

Augmentation = Literal["ED", "ND", "RW", "WA"]
Drop = Callable[[BipartiteGraph, float, torch.Generator], BipartiteGraph]


class SGL(ContrastiveMethod):
    """Three passes: over the whole graph for BPR, over two thinned graphs for the contrast.

    The two graphs are drawn anew once an epoch, that is, whenever as many interactions were seen as the graph has. Of
    the first step of an epoch the draw is kept in a buffer, so that a resumed training has the same graphs.

    Args:
        encoder: `LightGCN` with ``first_layer=0``, or another encoder with a graph.
        objective: see `ContrastiveMethod`.
        weight: of the contrast.
        temperature: of the default objective.
        augmentation: ``"ED"`` drops edges; ``"ND"`` drops nodes; ``"RW"`` drops other edges in each layer (the released
            code has one graph for all layers by mistake; this is the paper's); ``"WA"`` drops nothing: both views are
            the clean pass.
        drop: share that is dropped (the paper's rho).
        joint: users and items form one set, as the released framework has it; by default each node is told apart from
            its own kind, as in the paper and in the other methods here, so that a comparison changes one thing.
        regularisation: see `GraphMethod`; the framework's takes users, items and negatives of the final embeddings.
        lambda2: see `GraphMethod`.
        negatives: see `GraphMethod`.

    Raises:
        ConfigError: a setting out of its range.

    Source: Wu et al. 2021 (arXiv 2010.10783).
    """

    framework_negatives = True

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        weight: float = 0.1,
        temperature: float = 0.2,
        augmentation: Augmentation = "ED",
        drop: float = 0.1,
        joint: bool = False,
        regularisation: Regularisation = "embedding",
        lambda2: float = 1e-4,
        negatives: int = 1,
    ) -> None:
        super().__init__(encoder, objective, weight, temperature, regularisation, lambda2, negatives)
        known = get_args(Augmentation)
        if augmentation not in known:
            raise ConfigError(unknown("augmentation", augmentation, known, " or ".join(map(repr, known))))
        if not 0 <= drop < 1:
            raise ConfigError(message("drop", drop, "at least 0, below 1"))
        self.augmentation, self.drop, self.joint = augmentation, drop, joint
        self.register_buffer("graph_draw", torch.zeros((), dtype=torch.int64))
        self.register_buffer("graph_age", torch.zeros((), dtype=torch.int64))
        self.graph_draw: Tensor
        """Seed of this epoch's graphs; 0: there are none yet."""
        self.graph_age: Tensor
        """Interactions seen since they were drawn."""
        self._rows = 0
        self._thinned: tuple[int, BipartiteGraph, list[list[BipartiteGraph]]] | None = None

    def passes(self, asked: Asked, generator: torch.Generator) -> Passed:
        """One over the whole graph, then two over the thinned ones."""
        self._rows += len(asked.users) * world_size()
        layers = self.encoder.propagate(nodes=asked.nodes)
        if self.augmentation == "WA":
            first = second = self.encoder.final(layers)
        else:
            found = [self.encoder.propagate(graphs=own, nodes=asked.nodes) for own in self._graphs(generator)]
            first, second = map(self.encoder.final, found)
        return self.contrast(layers, first, second, asked, self.joint)

    def _graphs(self, generator: torch.Generator) -> list[list[BipartiteGraph]]:
        """For each of the two views a graph for each layer."""
        if not int(self.graph_draw):
            self.graph_draw.fill_(generator.initial_seed())
        seed, whole = int(self.graph_draw), self.encoder.graph
        if self._thinned is None or self._thinned[0] != seed or self._thinned[1] is not whole:
            own = torch.Generator().manual_seed(seed)
            self._thinned = seed, whole, [self._thin(own), self._thin(own)]
        return self._thinned[2]

    def _thin(self, generator: torch.Generator) -> list[BipartiteGraph]:
        drop: Drop = drop_nodes if self.augmentation == "ND" else drop_edges
        graph, layers = self.encoder.graph, self.encoder.layers
        if self.augmentation == "RW":
            return [drop(graph, self.drop, generator) for _ in range(layers)]
        return [drop(graph, self.drop, generator)] * layers

    def after_step(self) -> None:
        """Count, and let the graphs of a finished epoch go."""
        super().after_step()
        self.graph_age += self._rows
        self._rows = 0
        if int(self.graph_age) >= self.encoder.graph.n_edges:
            self.graph_age.zero_()
            self.graph_draw.zero_()
