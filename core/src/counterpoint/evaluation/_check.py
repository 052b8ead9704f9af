"""What every evaluator asks of its arrays, said once and with one wording."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message


def features(name: str, value: Any, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """``value`` as a detached ``(N, D)`` tensor of float32 (float64 stays; half precision and integers are widened).

    Args:
        name: the argument's name, for the message.
        value: tensor or array.
        dim: the ``D`` it must have, or None for any.
        dtype: the type wanted, or None to keep float32 or float64 as it comes.

    Raises:
        ShapeError: not two-dimensional, another ``D``, no columns, or a row with NaN or infinity (its number is named).
    """
    x = torch.as_tensor(value).detach()
    if x.ndim != 2 or x.shape[1] == 0:
        raise ShapeError(message(name, f"shape {tuple(x.shape)}", "shape (N, D) with D >= 1"))
    if dim is not None and x.shape[1] != dim:
        raise ShapeError(message(name, f"{x.shape[1]} dimensions", f"{dim}, as in the array it is compared with"))
    if x.is_complex():
        raise ShapeError(message(name, f"dtype {x.dtype}", "real numbers"))
    x = x.to(dtype or (x.dtype if x.dtype == torch.float64 else torch.float32))
    # one sum is finite only if every value is, at a tenth of the time of looking at each
    if not math.isfinite(x.sum().item()) and not bool((finite := torch.isfinite(x).all(dim=1)).all()):
        rows = (~finite).nonzero().flatten()
        found = f"NaN or infinity in row {int(rows[0])}" + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")
        todo = "Look at that sample, and at the training log for a loss that was not finite."
        raise ShapeError(message(name, found, "finite values", todo))
    return x


def rows(name: str, x: Tensor, least: int, why: str = "") -> None:
    """Raise ShapeError where ``x`` has fewer than ``least`` rows."""
    if x.shape[0] < least:
        raise ShapeError(message(name, f"{x.shape[0]} rows", f"at least {least}", why))


def same_rows(a: Tensor, b: Tensor) -> None:
    """Raise ShapeError unless ``a`` and ``b`` have the same number of rows, one at least."""
    rows("a", a, 1)
    if a.shape[0] != b.shape[0]:
        todo = "Row i of both must be the same sample."
        raise ShapeError(message("b", f"{b.shape[0]} rows", f"{a.shape[0]}, as in a", todo))


def labels(name: str, value: Any, n: int) -> Tensor:
    """``value`` as an ``(n,)`` int64 tensor of class indices; -1 means "unknown".

    Raises:
        ShapeError: another shape, not whole numbers, or a value below -1.
    """
    y = torch.as_tensor(value).detach()
    if y.shape != (n,):
        raise ShapeError(message(name, f"shape {tuple(y.shape)}", f"shape ({n},), one per row of the features"))
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ShapeError(message(name, f"dtype {y.dtype}", "an integer type with class indices"))
    y = y.long()
    if n and int(y.min()) < -1:
        raise ShapeError(message(name, f"the value {int(y.min())}", "class indices >= 0, and -1 for unknown"))
    return y


def ids(name: str, value: Any, n: int, device: torch.device) -> Tensor:
    """``value`` as an ``(n,)`` int64 tensor of any integer ids.

    Raises:
        ShapeError: another shape, or not whole numbers.
    """
    y = torch.as_tensor(value, device=device).detach()
    if y.shape != (n,) or y.is_floating_point() or y.is_complex():
        raise ShapeError(message(name, f"shape {tuple(y.shape)}, dtype {y.dtype}", f"shape ({n},), whole numbers"))
    return y.long()


def positive(name: str, value: float, finite: bool = False) -> None:
    """Raise ConfigError unless ``value`` is a number > 0."""
    if not value > 0 or (finite and math.isinf(value)):
        raise ConfigError(message(name, value, "a number > 0"))


def at_least(name: str, value: int, least: int = 1) -> None:
    """Raise ConfigError unless ``value`` is a whole number >= ``least``."""
    if not isinstance(value, int) or value < least:
        raise ConfigError(message(name, repr(value), f"a whole number >= {least}"))


def known(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose label is known."""
    keep = y >= 0
    return (x, y) if bool(keep.all()) else (x[keep.to(x.device)], y[keep])


def unit(x: Tensor) -> Tensor:
    """Rows of length 1; a zero row stays zero."""
    return torch.nn.functional.normalize(x, dim=1)
