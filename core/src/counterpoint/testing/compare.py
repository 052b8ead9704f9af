"""Comparing what parts return: tensors, arrays, and dictionaries, tuples, lists and dataclasses of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor, array and plain value inside ``value``, with the place where it stands."""
    if isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{place}[{number}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            yield from leaves(getattr(value, one.name), f"{place}.{one.name}")
    else:
        yield place, value


def tensors(value: Any) -> list[Tensor]:
    """Every tensor inside ``value``."""
    return [leaf for _, leaf in leaves(value) if isinstance(leaf, Tensor)]


def difference(a: Any, b: Any, *, close: bool = False) -> str:
    """Where ``a`` and ``b`` differ first, or "" where they are equal (``close``: up to rounding); NaN equals NaN."""
    one, two = list(leaves(a)), list(leaves(b))
    if len(one) != len(two):
        return f"{len(one)} values instead of {len(two)}"
    for (place, x), (_, y) in zip(one, two):
        if not _same(x, y, close):
            return f"{place or 'the value'} differs"
    return ""


def _same(x: Any, y: Any, close: bool) -> bool:
    if not isinstance(x, (Tensor, np.ndarray)) or not isinstance(y, (Tensor, np.ndarray)):
        return type(x) is type(y) and bool(x == y or x != x)
    first, second = torch.as_tensor(x).cpu(), torch.as_tensor(y).cpu()
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if not first.is_floating_point():
        return torch.equal(first, second)
    scale = float(second.abs().max()) if close and second.numel() else 0.0
    return torch.allclose(first, second, rtol=1e-3 if close else 0.0, atol=1e-4 * scale, equal_nan=True)
