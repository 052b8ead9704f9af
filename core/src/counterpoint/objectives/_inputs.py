"""What objectives ask of their inputs, with one wording for every refusal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message


def full_precision(rows: Tensor) -> Tensor:
    """``rows`` in at least float32: half precision is too coarse for exponentials and batch statistics."""
    return rows if rows.dtype == torch.float64 else rows.float()


def no_autocast(rows: Tensor) -> torch.autocast:
    """Context in which autocast cannot turn matrix products back into half precision."""
    return torch.autocast(rows.device.type, enabled=False)


def check_rows(argument: str, rows: Tensor) -> None:
    """Refuse what is not a non-empty floating-point matrix.

    Raises:
        ShapeError: ``rows`` is not floating point, not two-dimensional, or empty.
    """
    if not rows.is_floating_point():
        raise ShapeError(message(argument, rows.dtype, "floating point", "Convert it with .float()."))
    if rows.dim() != 2 or rows.numel() == 0:
        allowed = "(B, D) with B and D at least 1"
        raise ShapeError(message(argument, f"shape {tuple(rows.shape)}", allowed, "Give one row per sample."))


def check_views(argument: str, views: Sequence[Tensor], least: int = 2) -> None:
    """Refuse fewer than ``least`` views, and views whose rows cannot belong together.

    Raises:
        ShapeError: too few views, or shapes that differ, or a view that `check_rows` refuses.
    """
    if len(views) < least:
        todo = "Give one tensor per view."
        raise ShapeError(message(argument, f"{len(views)} view(s)", f"{least} or more", todo))
    for number, view in enumerate(views):
        check_rows(f"{argument}[{number}]", view)
        if view.shape != views[0].shape:
            allowed = f"{tuple(views[0].shape)} as in {argument}[0]"
            todo = "Row i of every view must come from sample i."
            raise ShapeError(message(f"{argument}[{number}]", f"shape {tuple(view.shape)}", allowed, todo))


def check_above(argument: str, value: float, bound: float = 0.0) -> None:
    """Refuse a number that is not above ``bound`` (NaN included).

    Raises:
        ConfigError: ``value <= bound``.
    """
    if not value > bound:
        raise ConfigError(message(argument, value, f"a number above {bound:g}"))


def check_at_least(argument: str, value: float, bound: float = 0.0) -> None:
    """Refuse a number below ``bound`` (NaN included).

    Raises:
        ConfigError: ``value < bound``.
    """
    if not value >= bound:
        raise ConfigError(message(argument, value, f"a number of at least {bound:g}"))


def check_choice(argument: str, value: object, known: Sequence[object]) -> None:
    """Refuse what is not among the known values.

    Raises:
        ConfigError: ``value`` is another.
    """
    if value not in known:
        raise ConfigError(message(argument, repr(value), " or ".join(map(repr, known))))
