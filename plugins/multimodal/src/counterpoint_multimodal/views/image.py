"""Views of pictures, borrowed from another plugin, with CLIP-rocket's two strengths as settings of vision's SimCLR."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Views
from counterpoint.plugin import borrowed
from counterpoint.types import Batch, View

IMAGE = "image"
SIMCLR = "vision/simclr"

WEAK: dict[str, Any] = {"scale": (0.5, 1.0), "flip": 0.0, "strength": 0.0, "jitter_p": 0.0, "gray_p": 0.0}
"""A random crop of half the picture or more, and nothing else."""
STRONG: dict[str, Any] = {"scale": (0.08, 1.0), "flip": 0.5, "strength": 0.5, "jitter_p": 0.8, "gray_p": 0.2}
"""SimCLR's, with colour jitter of (0.4, 0.4, 0.4, 0.1); at 224 pixels also ``blur=(0.1, 2.0)``."""
_OWN = ("size", "views")


def image_views(
    name: str, options: Mapping[str, Any] | None, strength: Mapping[str, Any], size: int, count: int, argument: str
) -> Views:
    """The image views called ``name``, that give ``count`` views or more of ``size`` pixels.

    Args:
        name: ``plugin/part``.
        options: the part's own arguments, over those of ``strength`` where the part is `SIMCLR`.
        strength: `WEAK` or `STRONG`.
        size: side of a view in pixels.
        count: views that are wanted.
        argument: what the options are called, for errors.

    Raises:
        ConfigError: an option that the part does not have, or a part whose views are not of images.
        PluginError: its plugin is not installed.
    """
    made = borrowed("views", name).load()
    known = inspect.signature(made).parameters
    if getattr(made, "modalities", ()) != (IMAGE,) or "size" not in known:
        raise ConfigError(message("image", name, "views of images of a size that can be chosen, e.g. vision/simclr"))
    wrong = [key for key in options or {} if key not in known or key in _OWN]
    if wrong:
        allowed = ", ".join(key for key in known if key not in _OWN)
        raise ConfigError(message(f"{argument}: options of {name}", ", ".join(wrong), allowed))
    several = {"views": count} if "views" in known else {}
    preset = strength if name == SIMCLR else {}
    views: Views = made(**{"size": size, **several, **preset, **(options or {})})
    return views


def first(views: Views, batch: Batch, generator: torch.Generator, count: int, role: str) -> list[View]:
    """The first ``count`` of the batch's views, in this role.

    Raises:
        ConfigError: there are fewer.
    """
    made = views(batch, generator)
    if len(made) < count:
        todo = "Choose vision/simclr, which gives any number."
        raise ConfigError(message("image", f"{len(made)} views of {type(views).__name__}", f"{count} or more", todo))
    return [replace(view, role=role) for view in made[:count]]
