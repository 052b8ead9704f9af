"""Turn a parser's complaint into one that names the nearest right key or class."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from typing import Any

from jsonargparse import ArgumentParser
from torch import nn

from counterpoint.errors import nearest
from counterpoint.objectives.base import Objective

_OPTION = re.compile(r"[Oo]ption '([\w.]+)' is not accepted")
_CLASS = re.compile(r"class_path '([\w.]+)'")
_UNKNOWN = re.compile(r"unrecognized arguments: (--[\w.\-]+)")
_KEY = re.compile(r"Key '([\w.]+)' is not expected")
_PATH = re.compile(r"(?:Expected a dot import path string|No module named|not a valid class_path)[: ]+'?([\w.]+)")


def explain(text: str, parser: ArgumentParser, bases: Iterable[type]) -> str:
    """The parser's error ``text`` with the nearest right name added where it complains about a name."""
    text = text.strip()
    option = _OPTION.search(text)
    if option is not None:
        before = _CLASS.findall(text[: option.start()])
        known = _parameters(before[-1]) if before else list(_keys(parser))
        owner = f" of {before[-1].rsplit('.', 1)[-1]}" if before else ""
        return f"Unknown setting {option[1]!r}{owner}.{nearest(option[1].split('.')[0], known)}"
    unknown = _UNKNOWN.search(text) or _KEY.search(text)
    if unknown is not None:
        name = unknown[1].lstrip("-")
        return f"Unknown setting {name!r}.{nearest(name, _keys(parser))}"
    path = _PATH.search(text)
    if path is not None:
        where = re.findall(r'Parser key "([\w.]+)"', text)
        asked = f" for {'.'.join(where)!r}" if where else ""
        return f"Unknown class {path[1]!r}{asked}.{nearest(path[1], _classes((*bases, Objective)))}"
    return text


def load(class_path: str) -> Any:
    """The class of a class path, as configurations have it."""
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _parameters(class_path: str) -> list[str]:
    signature = inspect.signature(load(class_path))
    return [p for p in signature.parameters if p not in ("self", "encoder")]


def _keys(parser: ArgumentParser) -> Iterable[str]:
    return {key.split(".init_args")[0] for key in vars(parser.get_defaults().as_flat())} | {"config", "recipe"}


def _classes(bases: Iterable[type]) -> set[str]:
    """Short names of every loaded class that may be asked for."""
    names: set[str] = set()
    queue: list[type] = [*bases]
    while queue:
        found: list[type] = queue.pop().__subclasses__()
        for cls in found:
            queue.append(cls)
            if not inspect.isabstract(cls):
                names.add(cls.__name__)
    heads = importlib.import_module("counterpoint.nn")
    return names | {name for name in heads.__all__ if _is_module(getattr(heads, name))}


def _is_module(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, nn.Module)
