"""What every image encoder asks of a view, and of its own settings."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.types import View


def pixels(view: View, channels: int) -> Tensor:
    """The ``(B, channels, H, W)`` float tensor of an image view.

    Raises:
        ShapeError: ``view.data`` is no such tensor.
    """
    data: Any = view.data
    allowed = f"float tensor (B, {channels}, H, W)"
    if not isinstance(data, Tensor):
        raise ShapeError(message("view.data", type(data).__name__, allowed, "Let the plugin's views make it a tensor."))
    if data.dim() != 4 or data.shape[1] != channels:
        raise ShapeError(message("view.data", f"shape {tuple(data.shape)}", allowed))
    if not data.is_floating_point():
        raise ShapeError(message("view.data", data.dtype, allowed, "Divide uint8 images by 255 (the views do it)."))
    return data


def positive(**settings: int) -> None:
    """Check that every setting is a whole number of at least 1.

    Raises:
        ConfigError: naming the first that is not.
    """
    for name, value in settings.items():
        if not isinstance(value, int) or value < 1:
            raise ConfigError(message(name, repr(value), "whole numbers of at least 1"))
