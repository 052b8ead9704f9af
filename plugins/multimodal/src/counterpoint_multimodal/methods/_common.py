"""What the methods here share: where further heads begin, and parts chosen by name with options of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from counterpoint.errors import ConfigError, unknown
from counterpoint.parts import Encoder
from counterpoint.types import Encoding

T = TypeVar("T")


def feature_dims(encoder: Encoder) -> dict[str, int]:
    """Modality -> width of what stands before the encoder's own projection, else of its pooled encoding."""
    pooled: dict[str, int] = getattr(encoder, "dims", {})
    return dict(getattr(encoder, "feature_dims", None) or pooled)


def features(encoding: Encoding) -> Tensor:
    """``(B, F)``, where further heads begin: what stands before the encoder's own projection, if it has one."""
    return encoding.pooled if encoding.features is None else encoding.features


def check_choice(argument: str, value: str, known: Mapping[str, object]) -> None:
    """Refuse a name that is not among ``known``, with the nearest one that is.

    Raises:
        ConfigError: it is not.
    """
    if value not in known:
        raise ConfigError(unknown(argument, value, known))


def made(argument: str, factory: Callable[..., T], *parts: object, options: Mapping[str, Any] | None) -> T:
    """``factory(*parts, **options)``; options that it does not take are refused by name.

    Raises:
        ConfigError: an unknown option, with those that there are.
    """
    if not options:
        return factory(*parts)
    known = list(inspect.signature(factory).parameters)[len(parts) :]
    for option in options:
        if option not in known:
            raise ConfigError(unknown(argument, option, known))
    return factory(*parts, **options)
