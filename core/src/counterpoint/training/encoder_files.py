"""The trained encoder on disk: ``encoder/`` with safetensors weights, a JSON config and a README card.

Nothing in it is code: the config names a *registered* encoder of an installed plugin and its arguments, the weights are
safetensors and load strictly. A pickle is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from counterpoint import plugin as plugins
from counterpoint._version import __version__
from counterpoint.errors import RunError, nearest
from counterpoint.files import atomic, inside, write_text
from counterpoint.nn import ConcatEncoder, TwoSpaces
from counterpoint.parts import Encoder, Views
from counterpoint.plugin import Plugin

COMPOSED: dict[str, Callable[..., Encoder]] = {
    "counterpoint.nn.ConcatEncoder": ConcatEncoder,
    "counterpoint.nn.TwoSpaces": TwoSpaces,
}
"""The core's encoders that are made of a plugin's: their first argument, ``encoders``, is a list of described ones."""
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1


def registered(plugin: Plugin, kind: str, class_path: str) -> str | None:
    """Name under which ``plugin`` registers the class, or None."""
    for name, part in getattr(plugin, kind).items():
        cls = part.load()
        if class_path in (part.target.replace(":", "."), f"{cls.__module__}.{cls.__qualname__}"):
            return str(name)
    return None


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's state as safetensors (tensors that share memory are written once each)."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    with atomic(path) as temporary:
        save_file(state, temporary)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read safetensors into ``module``, strictly.

    Raises:
        RunError: the file is missing, is not safetensors (a pickle, say), or does not fit the module.
    """
    if not path.is_file():
        raise RunError(f"{path}: there is no such file")
    try:
        state = load_file(path)
        module.load_state_dict(state, strict=True)
    except SafetensorError as error:
        raise RunError(f"{path}: is not a safetensors file ({error}). Pickled weights are not read.") from None
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit {type(module).__name__}: {error}") from None


def save_encoder(folder: Path, encoder: Encoder, described: Mapping[str, Any], card: str) -> None:
    """Write weights, config and card. ``described``: plugin, encoder, views (each with class_path and init_args)."""
    save_weights(encoder, folder / WEIGHTS)
    config = {"format": FORMAT, "counterpoint": __version__, "weights": WEIGHTS, "dim": encoder.dim, **described}
    write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_text(folder / CARD, card)


def read_config(folder: Path) -> dict[str, Any]:
    """The encoder's ``config.json``.

    Raises:
        RunError: it is missing, torn, or of another format.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise RunError(
            f"{path}: there is no encoder here (yet). Is the run finished? counterpoint diagnose says."
        ) from None
    except ValueError as error:
        raise RunError(f"{path}: is not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(
            f"{path}: format {config.get('format') if isinstance(config, dict) else '?'}; {FORMAT} is needed"
        )
    return config


def build(plugin: Plugin, kind: str, described: Any) -> Any:
    """Build what a config describes, provided that ``plugin`` registers it: no code comes from a checkpoint."""
    path = described.get("class_path", "") if isinstance(described, dict) else ""
    if kind == "encoders" and path in COMPOSED:
        return _composed(plugin, path, described.get("init_args") or {})
    name = registered(plugin, kind, path)
    if name is None:
        known = [part.target.replace(":", ".") for part in getattr(plugin, kind).values()]
        raise RunError(
            f"{path!r} is none of the {kind} of plugin {plugin.name!r}, so it is not loaded.{nearest(path, known)}"
        )
    arguments = described.get("init_args") or {}
    nested = object_in(arguments)
    if nested is not None:
        raise RunError(
            f"{path}: an argument asks for class {nested!r}; plain values are allowed in an encoder's config"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    cls = getattr(plugin, kind)[name].load()
    return cls(**(cls.blank(values) if issubclass(cls, Encoder) else values))


def _composed(plugin: Plugin, path: str, arguments: Any) -> Encoder:
    """An encoder of the core around encoders of the plugin."""
    values = (
        {key: value for key, value in arguments.items() if key != "encoders"} if isinstance(arguments, dict) else {}
    )
    inner = arguments.get("encoders") if isinstance(arguments, dict) else None
    if not isinstance(inner, list) or object_in(values) is not None:
        raise RunError(f"{path}: takes a list of encoders, each with class_path and init_args, and plain values")
    return COMPOSED[path]([build(plugin, "encoders", one) for one in inner], **values)


def object_in(arguments: Any) -> str | None:
    """The first ``class_path`` anywhere in ``arguments``; None where all are plain values."""
    if isinstance(arguments, Mapping) and "class_path" in arguments:
        return str(arguments["class_path"])
    inner = arguments.values() if isinstance(arguments, Mapping) else arguments if isinstance(arguments, list) else ()
    return next((found for found in map(object_in, inner) if found is not None), None)


def load_encoder(folder: Path) -> tuple[Encoder, Views, Plugin, dict[str, Any]]:
    """The trained encoder (in eval mode), the views whose ``plain`` it was measured with, its plugin and its config."""
    config = read_config(folder)
    plugin = plugins.get(str(config.get("plugin")))
    encoder: Encoder = build(plugin, "encoders", config.get("encoder"))
    load_weights(encoder, inside(folder, str(config.get("weights"))))
    views: Views = build(plugin, "views", config.get("views"))
    return encoder.eval().requires_grad_(False), views, plugin, config
