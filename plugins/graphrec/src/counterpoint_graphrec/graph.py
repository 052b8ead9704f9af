"""The bipartite graph of who touched what, and the product with its normalised adjacency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, DataError, message
from counterpoint_graphrec.csr import CSR

__all__ = ["BipartiteGraph", "drop_edges", "drop_nodes"]

FEW = 0.4
"""Up to this share of the entries, products for the asked rows only are cheaper than the whole (measured)."""


class BipartiteGraph(nn.Module):
    """``Ã = D^-1/2 A D^-1/2`` with ``A = [[0, R], [Rᵀ, 0]]``; users are numbered first; an isolated node's row is 0.

    Its tensors move with the module that holds it, and none is in the state dict: they follow from the edges.

    Args:
        users, items: the two ends of each edge, ``(E,)`` int; the pairs are distinct, in any order.
        n_users, n_items: number of nodes of either kind.

    Raises:
        DataError: ends that differ in number, lie outside of the nodes, or pairs that repeat.
    """

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        _check(users, items, n_users, n_items)
        self.n_users = n_users
        self.n_items = n_items
        users, items = _ordered(users, items, n_items)
        touched = CSR.of(items, torch.bincount(users, minlength=n_users), n_items)
        by_item = touched.transpose()
        counts = torch.cat([touched.starts.diff(), by_item.starts.diff()])
        self._adjacency = CSR.of(torch.cat([touched.columns + n_users, by_item.columns]), counts, n_users + n_items)
        self._normalised: dict[torch.dtype, CSR] = {}

    @property
    def n_edges(self) -> int:
        """Number of (user, item) pairs."""
        return self._adjacency.columns.numel() // 2

    @property
    def users(self) -> Tensor:
        """The user of each edge, ``(E,)``, ascending."""
        starts = self._adjacency.starts[: self.n_users + 1]
        nodes = torch.arange(self.n_users, dtype=starts.dtype, device=starts.device)
        return torch.repeat_interleave(nodes, starts.diff(), output_size=self.n_edges)

    @property
    def items(self) -> Tensor:
        """The item of each edge, ``(E,)``, ascending within a user."""
        return self._adjacency.columns[: self.n_edges] - self.n_users

    @property
    def degrees(self) -> Tensor:
        """Number of edges of each node, ``(n_users + n_items,)``."""
        return self._adjacency.starts.diff()

    def propagate(self, x: Tensor) -> Tensor:
        """``Ã x`` for ``x`` ``(n_users + n_items, D)``; differentiable once."""
        matrix = self.normalised(x.dtype)
        return _product(x, matrix, lambda: matrix)

    def rows(self, x: Tensor, nodes: Tensor) -> Tensor:
        """``(Ã x)[nodes]``, ``(B, D)``, for node numbers ``(B,)``; differentiable once.

        On a CPU only the edges of these nodes are visited, forward and backward, unless they are most of all edges.
        """
        edges = int(self.degrees.index_select(0, nodes).sum())
        if x.device.type != "cpu" or x.dtype.itemsize < 4 or edges > FEW * self._adjacency.columns.numel():
            return self.propagate(x).index_select(0, nodes)
        part = self.normalised(x.dtype).take(nodes)
        return _product(x, part, part.transpose)

    def without_edges(self, keep: Tensor) -> BipartiteGraph:
        """The graph of the edges where ``keep``, ``(E,)`` bool in the order of `users` and `items`, normalised anew."""
        if keep.shape != (self.n_edges,) or keep.dtype != torch.bool:
            raise DataError(message("keep", f"{keep.dtype} {tuple(keep.shape)}", f"bool ({self.n_edges},)"))
        kept = keep.nonzero().squeeze(1)
        users, items = self.users.index_select(0, kept), self.items.index_select(0, kept)
        return BipartiteGraph(users, items, self.n_users, self.n_items)

    def normalised(self, dtype: torch.dtype) -> CSR:
        """``Ã`` itself, its weights in ``dtype``; kept for the next call."""
        if dtype not in self._normalised:
            scale = self.degrees.clamp_(min=1).to(dtype).rsqrt_()
            rows = torch.repeat_interleave(scale, self.degrees, output_size=self._adjacency.columns.numel())
            weights = rows.mul_(scale.index_select(0, self._adjacency.columns))
            self._normalised = {dtype: replace(self._adjacency, values=weights)}
        return self._normalised[dtype]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BipartiteGraph:
        """Follow ``.to``. Were the indices buffers, several processes would send them to each other at every step."""
        self._adjacency = self._adjacency.map(fn)
        self._normalised = {}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class _Product(torch.autograd.Function):
    """A sparse matrix by a dense one; `transposed` is asked in the backward pass, where it is needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: CSR, transposed: Callable[[], CSR]) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed() @ gradient, None, None


def _product(x: Tensor, matrix: CSR, transposed: Callable[[], CSR]) -> Tensor:
    product: Tensor = _Product.apply(x, matrix, transposed)
    return product


def drop_edges(graph: BipartiteGraph, rate: float, generator: torch.Generator) -> BipartiteGraph:
    """Keep ``int((1 - rate) E)`` edges drawn without replacement, normalised anew (SGL-ED)."""
    _check_rate(rate)
    keep = _survivors(graph.n_edges, int((1 - rate) * graph.n_edges), generator)
    return graph.without_edges(keep.to(graph.items.device))


def drop_nodes(graph: BipartiteGraph, rate: float, generator: torch.Generator) -> BipartiteGraph:
    """Drop ``int(rate n)`` of the users and as large a share of the items, with their edges (SGL-ND)."""
    _check_rate(rate)
    users, items = (
        _survivors(n, n - int(rate * n), generator).to(graph.items.device) for n in (graph.n_users, graph.n_items)
    )
    return graph.without_edges(users[graph.users] & items[graph.items])


def _survivors(n: int, kept: int, generator: torch.Generator) -> Tensor:
    """``(n,)`` bool, ``kept`` of them true."""
    keep = torch.zeros(n, dtype=torch.bool)
    keep[torch.randperm(n, generator=generator)[:kept]] = True
    return keep


def _ordered(users: Tensor, items: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
    """Edges by user, then by item; those that are in order already, as after dropping some, are not sorted again."""
    keys = users.long() * n_items + items
    if not bool((keys[1:] > keys[:-1]).all()):
        keys = keys.sort().values
        if bool((keys[1:] == keys[:-1]).any()):
            key = int(keys[1:][keys[1:] == keys[:-1]][0])
            pair = f"user {key // n_items} with item {key % n_items} more than once"
            raise DataError(message("edges", pair, "distinct pairs", "Drop duplicates first."))
    return keys // n_items, keys % n_items


def _check(users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
    if users.ndim != 1 or users.shape != items.shape:
        found = f"users {tuple(users.shape)}, items {tuple(items.shape)}"
        raise DataError(message("edges", found, "one user and one item for each edge"))
    for name, ends, n in (("users", users, n_users), ("items", items, n_items)):
        if ends.numel() and not 0 <= int(ends.min()) <= int(ends.max()) < n:
            raise DataError(message(name, f"numbers from {int(ends.min())} to {int(ends.max())}", f"0 to {n - 1}"))


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ConfigError(message("rate", rate, "at least 0, below 1"))
