"""What a view's data may be, and how its rows are joined and cut.

Data has rows when it is a tensor ``(B, ...)``, or a dictionary or tuple of such with one ``B`` (token ids and their
mask), or a list of ``B`` tensors of any shapes (point clouds, sentences). Anything else, such as a graph, is the
encoder's own business: it passes whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def count(data: Any) -> int | None:
    """Number of rows ``B``, or None where the data has no rows."""
    if isinstance(data, Tensor):
        return data.shape[0] if data.ndim else None
    if isinstance(data, list):
        return len(data) if data and all(isinstance(row, Tensor) for row in data) else None
    counts = {count(leaf) for leaf in _leaves(data)}
    return counts.pop() if len(counts) == 1 else None


def layout(data: Any) -> Hashable | None:
    """What must be equal for two views' rows to be joined, or None where they cannot be."""
    if isinstance(data, Tensor):
        return (tuple(data.shape), data.dtype, data.device) if data.ndim else None
    if isinstance(data, list) or count(data) is None:
        return None
    parts = tuple(layout(leaf) for leaf in _leaves(data))
    names = tuple(data) if isinstance(data, Mapping) else None
    return None if None in parts else (names, parts)


def join(parts: Sequence[Any]) -> Any:
    """The rows of several data of one `layout`, one below the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        return {name: join([part[name] for part in parts]) for name in first}
    return tuple(join(same) for same in zip(*parts))


def cut(data: Any, size: int) -> list[Any]:
    """The rows in pieces of ``size``, the last one smaller; data must have a `count`."""
    if isinstance(data, Tensor):
        return list(torch.split(data, size))
    if isinstance(data, list):
        return [data[start : start + size] for start in range(0, len(data), size)]
    if isinstance(data, Mapping):
        pieces = zip(*(cut(leaf, size) for leaf in data.values()))
        return [dict(zip(data, piece)) for piece in pieces]
    return list(zip(*(cut(leaf, size) for leaf in data)))


def tensors(data: Any) -> list[Tensor]:
    """The tensors in data that has rows, in a fixed order."""
    if isinstance(data, Tensor):
        return [data]
    parts = data if isinstance(data, list) else _leaves(data)
    return [tensor for part in parts for tensor in tensors(part)]


def rebuilt(data: Any, leaves: Iterator[Tensor]) -> Any:
    """The same data with other `tensors`, taken from ``leaves`` in that order."""
    if isinstance(data, Tensor):
        return next(leaves)
    if isinstance(data, Mapping):
        return {name: rebuilt(part, leaves) for name, part in data.items()}
    return type(data)(rebuilt(part, leaves) for part in data)


def _leaves(data: Any) -> list[Any]:
    if isinstance(data, Mapping):
        return list(data.values())
    return list(data) if type(data) is tuple else []
