"""What objectives ask of their inputs, with one wording for every refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message, suggestion

COLDEST = 1e-30
"""Below it 1 / temperature is beyond float32."""


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
    """Refuse what is not a number above ``bound`` (NaN included).

    Raises:
        ConfigError: ``value <= bound``, or no number.
    """
    if not is_number(value) or not value > bound:
        raise ConfigError(message(argument, value, f"a number above {bound:g}"))


def check_at_least(argument: str, value: float, bound: float = 0.0) -> None:
    """Refuse what is not a number of at least ``bound`` (NaN included).

    Raises:
        ConfigError: ``value < bound``, or no number.
    """
    if not is_number(value) or not value >= bound:
        raise ConfigError(message(argument, value, f"a number of at least {bound:g}"))


def check_share(argument: str, value: float, allowed: str = "a number in [0, 1]") -> None:
    """Refuse what is not a number from 0 to 1; with ``allowed`` ending in ``)`` it must be below 1.

    Raises:
        ConfigError: another number, or none.
    """
    if not is_number(value) or not 0 <= value <= 1 or (value == 1 and allowed.endswith(")")):
        raise ConfigError(message(argument, value, allowed))


def check_temperature(value: float) -> None:
    """Refuse what is not a number above 0 whose inverse is one too.

    Raises:
        ConfigError: another number, or none.
    """
    check_above("temperature", value)
    if not COLDEST <= value < math.inf:
        raise ConfigError(message("temperature", value, f"a number from {COLDEST:g} to below infinity"))


def check_count(argument: str, value: int, least: int) -> None:
    """Refuse what is not a whole number from ``least`` on.

    Raises:
        ConfigError: a smaller one, or no whole number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(message(argument, value, f"a whole number from {least}"))


def is_number(value: object) -> bool:
    """Whether it is a real number; what is true or false is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_choice(argument: str, value: object, known: Sequence[object]) -> None:
    """Refuse what is not among the known values.

    Raises:
        ConfigError: ``value`` is another.
    """
    if value not in known:
        close = suggestion(str(value), [str(one) for one in known])
        raise ConfigError(message(argument, repr(value), " or ".join(map(repr, known)), close))
