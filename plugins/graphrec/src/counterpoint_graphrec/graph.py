"""The bipartite graph of who touched what, and the product with its normalised adjacency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from counterpoint.errors import ConfigError, DataError, message

__all__ = ["BipartiteGraph", "drop_edges", "drop_nodes"]


class Half:
    """One direction of the edges in compressed rows: the neighbours of each node, and where each node's begin."""

    def __init__(self, neighbours: Tensor, starts: Tensor) -> None:
        self.neighbours, self.starts = neighbours, starts

    def to(self, move: Callable[[Tensor], Tensor]) -> Half:
        return Half(move(self.neighbours), move(self.starts))

    def sums(self, x: Tensor) -> Tensor:
        """Sum of the neighbours' rows, ``(rows, D)``; zeros where there is none."""
        return F.embedding_bag(self.neighbours, x, self.starts, mode="sum", include_last_offset=True)


class BipartiteGraph(nn.Module):
    """``Ã = D^-1/2 A D^-1/2`` with ``A = [[0, R], [Rᵀ, 0]]``; users are numbered first; an isolated node's row is 0.

    Its tensors move with the module that holds it, and none is in the state dict.

    Args:
        users, items: the two ends of each edge, ``(E,)`` int; the pairs are distinct.
        n_users, n_items: number of nodes of either kind.

    Raises:
        DataError: ends that differ in number, or lie outside of the nodes.
    """

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        _check(users, items, n_users, n_items)
        self.n_users: Final = n_users
        self.n_items: Final = n_items
        order = torch.argsort(users.long() * n_items + items)
        self.users, self.items = users[order].int(), items[order].int()
        self.degrees = torch.cat(
            [torch.bincount(self.users, minlength=n_users), torch.bincount(self.items, minlength=n_items)]
        )
        self._to_items = torch.argsort(self.items, stable=True)
        self._user_half = Half(self.items, _starts(self.degrees[:n_users]))
        self._item_half = Half(self.users[self._to_items], _starts(self.degrees[n_users:]))

    @property
    def n_edges(self) -> int:
        """Number of (user, item) pairs."""
        return self.users.numel()

    @property
    def user_degrees(self) -> Tensor:
        """``(n_users,)`` int64."""
        return self.degrees[: self.n_users]

    @property
    def item_degrees(self) -> Tensor:
        """``(n_items,)`` int64."""
        return self.degrees[self.n_users :]

    def propagate(self, x: Tensor) -> Tensor:
        """``Ã x`` for ``x`` ``(n_users + n_items, D)``; differentiable once."""
        product: Tensor = _Product.apply(x, self)
        return product

    def rows(self, x: Tensor, nodes: Tensor) -> Tensor:
        """``(Ã x)[nodes]``, ``(B, D)``, for node numbers ``(B,)``; differentiable once."""
        return self.propagate(x)[nodes]

    def without_edges(self, keep: Tensor) -> BipartiteGraph:
        """The graph of the edges where ``keep``, ``(E,)`` bool in the order of `users`, normalised anew."""
        return BipartiteGraph(self.users[keep], self.items[keep], self.n_users, self.n_items)

    def multiply(self, x: Tensor) -> Tensor:
        """``Ã x`` without gradient."""
        scale = self.scale(x)
        x = x * scale
        users, items = x[: self.n_users], x[self.n_users :]
        return torch.cat([self._user_half.sums(items), self._item_half.sums(users)]).mul_(scale)

    def scale(self, x: Tensor) -> Tensor:
        """``D^-1/2``, ``(n_users + n_items, 1)`` of the type of ``x``; 1 for an isolated node."""
        return self.degrees.clamp(min=1).to(x.dtype).rsqrt_().unsqueeze(1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BipartiteGraph:
        """Indices follow ``.to``; as buffers they would be sent to all ranks at each step."""
        for name in ("users", "items", "degrees", "_to_items"):
            setattr(self, name, fn(getattr(self, name)))
        self._user_half, self._item_half = self._user_half.to(fn), self._item_half.to(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class _Product(torch.autograd.Function):
    """``Ã x``; its transpose is itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: BipartiteGraph) -> Tensor:
        ctx.graph = graph
        return graph.multiply(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.graph.multiply(gradient), None


def drop_edges(graph: BipartiteGraph, rate: float, generator: torch.Generator) -> BipartiteGraph:
    """Keep ``int((1 - rate) E)`` edges drawn without replacement, normalised anew (SGL-ED)."""
    _check_rate(rate)
    kept = int((1 - rate) * graph.n_edges)
    keep = torch.zeros(graph.n_edges, dtype=torch.bool)
    keep[torch.randperm(graph.n_edges, generator=generator)[:kept]] = True
    return graph.without_edges(keep.to(graph.users.device))


def drop_nodes(graph: BipartiteGraph, rate: float, generator: torch.Generator) -> BipartiteGraph:
    """Drop ``int(rate n)`` of the users and of the items, with their edges, normalised anew (SGL-ND)."""
    _check_rate(rate)
    users, items = (_survivors(n, rate, generator).to(graph.users.device) for n in (graph.n_users, graph.n_items))
    return graph.without_edges(users[graph.users] & items[graph.items])


def _survivors(n: int, rate: float, generator: torch.Generator) -> Tensor:
    keep = torch.ones(n, dtype=torch.bool)
    keep[torch.randperm(n, generator=generator)[: int(rate * n)]] = False
    return keep


def _starts(counts: Tensor) -> Tensor:
    return F.pad(counts.cumsum(0), (1, 0)).int()


def _check(users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
    if users.ndim != 1 or users.shape != items.shape:
        raise DataError(message("edges", f"{tuple(users.shape)} users, {tuple(items.shape)} items", "equally many"))
    for name, ends, n in (("users", users, n_users), ("items", items, n_items)):
        if ends.numel() and not 0 <= int(ends.min()) <= int(ends.max()) < n:
            raise DataError(message(name, f"numbers from {int(ends.min())} to {int(ends.max())}", f"0 to {n - 1}"))


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ConfigError(message("rate", rate, "at least 0, below 1"))
