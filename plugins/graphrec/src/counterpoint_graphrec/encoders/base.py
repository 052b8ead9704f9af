"""What encoders of nodes share: a table of embeddings, the graph, and passes over it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.parts import Dataset, Encoder
from counterpoint.types import Encoding, View
from counterpoint_graphrec.graph import BipartiteGraph
from counterpoint_graphrec.noise import signed_noise

Noise = Callable[[Tensor], Tensor]
"""A layer's rows -> the same rows, perturbed."""


class GraphEncoder(Encoder):
    """Embeddings of users and items, and layers of message passing over the graph of who touched what.

    A node's embedding is the mean of its rows in the layers ``first_layer`` to ``layers``, layer 0 being the table. The
    graph is of the training interactions and is saved with the weights (buffer ``edges``), so that a loaded encoder
    ranks and recommends without its data.

    Args:
        dim: width of the embeddings.
        layers: L; with 0 there is only the table.
        first_layer: first layer that counts: 0 as LightGCN has it; 1 as SimGCL and XSimGCL have it.

    Attributes:
        table: ``(n_users + n_items, dim)``, users first; Xavier uniform, users and items each by their number.
        edges: ``(2, E)`` int32, the users and the items of the training interactions, by user and then by item.
        sizes: ``(2,)`` int64, the numbers of users and items.

    Raises:
        ConfigError: a setting out of its range.
    """

    capabilities = frozenset({"tokens", "modalities", "graph"})
    transductive = True

    def __init__(self, dim: int = 64, layers: int = 3, first_layer: int = 0) -> None:
        super().__init__()
        for name, value, least in (("dim", dim, 1), ("layers", layers, 0), ("first_layer", first_layer, 0)):
            if value < least:
                raise ConfigError(message(name, value, f"a whole number from {least}"))
        if first_layer > layers:
            raise ConfigError(message("first_layer", first_layer, f"0 to {layers}, which is the last layer"))
        self.dim, self.layers, self.first_layer = dim, layers, first_layer
        self.dims = {"user": dim, "item": dim}
        self.table = nn.Parameter(torch.empty(0, dim))
        self.register_buffer("edges", torch.empty(2, 0, dtype=torch.int32))
        self.register_buffer("sizes", torch.zeros(2, dtype=torch.int64))
        self.edges: Tensor
        self.sizes: Tensor
        self._graph: BipartiteGraph | None = None
        self._kept: _Kept | None = None

    @abstractmethod
    def convolve(self, x: Tensor, graph: BipartiteGraph, layer: int, nodes: Tensor | None = None) -> Tensor:
        """One layer of message passing.

        Args:
            x: ``(n, dim)``, all nodes of the layer before.
            graph: over which.
            layer: number of the new layer, from 1.
            nodes: rows that are wanted, ``(R,)``, or None for all.
        """

    # The graph

    def prepare(self, dataset: Dataset) -> None:
        """Take the graph from ``dataset.matrix("train")``, and a fresh table.

        Raises:
            ConfigError: a dataset without interactions.
        """
        matrix = getattr(dataset, "matrix", None)
        if matrix is None:
            allowed = "interactions of users and items (with a `matrix`)"
            raise ConfigError(message(f"{type(self).__name__}: dataset", type(dataset).__name__, allowed))
        coo, device = matrix("train").tocoo(), self.table.device
        n_users, n_items = coo.shape
        self.edges = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int32)).to(device)
        self.sizes = torch.tensor([n_users, n_items], device=device)
        self._connect()
        table = self.table.new_empty(n_users + n_items, self.dim, requires_grad=False)
        for part in (table[:n_users], table[n_users:]):
            nn.init.xavier_uniform_(part)
        self.table.data = table

    def _connect(self) -> None:
        """Build the graph of the edges, and keep these in its order."""
        n_users, n_items = self.sizes.tolist()
        self._graph = BipartiteGraph(self.edges[0], self.edges[1], n_users, n_items)
        self.edges = torch.stack([self._graph.users, self._graph.items]).int()
        self._kept = None

    @property
    def graph(self) -> BipartiteGraph:
        """The graph of the training interactions.

        Raises:
            ConfigError: there is none yet.
        """
        if self._graph is None:
            todo = "Call prepare(dataset), or load a trained encoder."
            raise ConfigError(message(f"{type(self).__name__}: graph", "none", "that of a dataset", todo))
        return self._graph

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.graph.n_users

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.graph.n_items

    def history(self, user: int) -> Tensor:
        """Numbers of the items that ``user`` touched in training, ``(k,)`` int64, ascending.

        Raises:
            ShapeError: a user that there is not.
        """
        if not 0 <= user < self.n_users:
            raise ShapeError(message("user", user, f"0 to {self.n_users - 1}"))
        ends = torch.searchsorted(self.edges[0], self.edges.new_tensor([user, user + 1]))
        return self.edges[1, int(ends[0]) : int(ends[1])].long()

    def matrix(self) -> csr_array:
        """The training interactions as a ``(n_users, n_items)`` matrix of ones."""
        users, items = self.edges.cpu().numpy()
        ones = np.ones(len(users), dtype=np.float32)
        return csr_array((ones, (users, items)), shape=(self.n_users, self.n_items))

    # Passes

    def propagate(
        self,
        noise: Noise | None = None,
        graphs: Sequence[BipartiteGraph] | None = None,
        nodes: Tensor | None = None,
    ) -> list[Tensor]:
        """One pass: the layers 0 to L.

        Args:
            noise: applied to each layer above 0; the next layer goes on from the noisy one.
            graphs: one a layer; the encoder's own for all by default.
            nodes: distinct rows that are wanted, ``(R,)``, users first; the last layer is then computed for these only.

        Returns:
            L + 1 tensors ``(n_users + n_items, dim)``, or ``(R, dim)``.
        """
        over = [self.graph] * self.layers if graphs is None else graphs
        wanted: Tensor = self.table
        found: list[Tensor] = []
        for layer, graph in enumerate(over, start=1):
            found.append(wanted)
            wanted = self.convolve(wanted, graph, layer, nodes if layer == self.layers else None)
            wanted = wanted if noise is None else noise(wanted)
        if nodes is None:
            return [*found, wanted]
        last = wanted if self.layers else wanted.index_select(0, nodes)
        return [*(layer.index_select(0, nodes) for layer in found), last]

    def final(self, layers: Sequence[Tensor]) -> Tensor:
        """Mean of the layers that count, ``(…, dim)``."""
        counted = layers[self.first_layer :]
        return counted[0] if len(counted) == 1 else torch.stack(list(counted)).mean(dim=0)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Embeddings of all users and of all items, ``(n_users, dim)`` and ``(n_items, dim)``, without noise.

        In evaluation without gradients they are computed once and kept while the weights stay as they are.
        """
        final = self._clean().final
        return final[: self.n_users], final[self.n_users :]

    def _clean(self) -> _Kept:
        """The pass without noise, kept where nothing can change or learn."""
        state = self._state()
        if state is not None and self._kept is not None and self._kept.state == state:
            return self._kept
        layers = self.propagate()
        found = _Kept(state, layers, self.final(layers))
        self._kept = found if state is not None else None
        return found

    def _state(self) -> Any:
        """What the clean pass depends on; None where it must be computed anew."""
        parameters = list(self.parameters())
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
        if self.training or learns or any(p.is_inference() for p in parameters):
            self._kept = None  # a step may follow, and a fused optimiser's leaves no trace in the version
            return None
        return torch.is_inference_mode_enabled(), [(p._version, p.data_ptr()) for p in parameters]

    def forward(self, view: View) -> Encoding:
        """``{"node", "draw", "noise"}`` of users or items -> pooled ``(B, dim)``, tokens ``(B, L + 1, dim)``: layers.

        One pass for each draw; draw 0 is without noise.
        """
        nodes, draws, noise = self._asked(view)
        passes = torch.unique(draws).tolist()
        if len(passes) <= 1:
            tokens = self._tokens(nodes, passes[0] if passes else 0, noise)
        else:
            rows = [(draws == draw).nonzero().squeeze(1) for draw in passes]
            found = [self._tokens(nodes[row], draw, noise[row]) for draw, row in zip(passes, rows)]
            tokens = torch.cat(found)[torch.argsort(torch.cat(rows))]
        return Encoding(self.final(tokens.unbind(1)), tokens)

    def _tokens(self, nodes: Tensor, draw: int, noise: Tensor) -> Tensor:
        """Layers of ``nodes``, ``(B, L + 1, dim)``, in the pass of ``draw``."""
        if draw == 0 and self._state() is not None:
            return torch.stack([layer[nodes] for layer in self._clean().layers], dim=1)
        distinct, place = torch.unique(nodes, return_inverse=True)
        perturb = None
        if draw and len(noise):
            perturb = partial(signed_noise, eps=float(noise[0]), generator=torch.Generator().manual_seed(draw))
        return torch.stack(self.propagate(perturb, nodes=distinct), dim=1)[place]

    def _asked(self, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """Rows in the table, draws and lengths of noise, checked."""
        data: Any = view.data
        if not isinstance(data, Mapping) or not {"node", "draw", "noise"} <= set(data):
            found = ", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
            raise ShapeError(message("view.data", found, "node, draw and noise, each (B,), as NodeViews makes them"))
        if view.modality not in self.dims:
            raise ShapeError(message("view.modality", repr(view.modality), "'user' or 'item'"))
        nodes: Tensor = data["node"]
        size = self.n_users if view.modality == "user" else self.n_items
        if nodes.numel() and not 0 <= int(nodes.min()) <= int(nodes.max()) < size:
            found = f"numbers from {int(nodes.min())} to {int(nodes.max())}"
            raise ShapeError(message(f"view.data['node'] ({view.modality}s)", found, f"0 to {size - 1}"))
        offset = 0 if view.modality == "user" else self.n_users
        return nodes + offset, data["draw"], data["noise"]

    # How torch moves and loads it

    def train(self, mode: bool = True) -> GraphEncoder:
        """Training or evaluation mode."""
        self._kept = None
        super().train(mode)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GraphEncoder:
        self._kept = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the shapes of what is loaded, then its values, then build its graph."""
        table, edges, sizes = (state.get(prefix + name) for name in ("table", "edges", "sizes"))
        if table is not None and table.dim() == 2 and table.shape[1] == self.dim:
            self.table.data = self.table.new_empty(table.shape)
        if edges is not None and edges.dim() == 2:
            self.edges = self.edges.new_empty(edges.shape)
        super()._load_from_state_dict(state, prefix, *args)
        if edges is not None and sizes is not None and int(self.sizes.sum()):
            self._connect()


class _Kept(NamedTuple):
    """A pass without noise, and what it was computed from."""

    state: Any
    layers: list[Tensor]
    final: Tensor
