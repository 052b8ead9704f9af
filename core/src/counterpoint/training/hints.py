"""Turn a parser's complaint into one line that names the nearest right key or class, or what a value may be."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from typing import Any

from jsonargparse import ArgumentParser
from torch import nn

from counterpoint.errors import message, nearest
from counterpoint.methods.base import Method
from counterpoint.objectives.base import Objective
from counterpoint.parts import Dataset, Encoder, Views

_OPTION = re.compile(r"[Oo]ption '([\w.]+)' is not accepted")
_CLASS = re.compile(r"class_path '([\w.]+)'")
_UNKNOWN = re.compile(r"unrecognized arguments: (--[\w.\-]+)")
_KEY = re.compile(r"Key '([\w.]+)' is not expected")
_PATH = re.compile(r"(?:Expected a dot import path string|No module named|not a valid class_path)[: ]+'?([^\s']+)")
_ASKED = re.compile(r'Parser key "([\w.]+)"')
_MISSING = re.compile(r"the following arguments are required: ([\w., ]+)")
_VALUE = re.compile(r"Expected a (?P<types>.+?)\. Got value: (?P<value>.*)")
_UNION = re.compile(r"Errors:\s+(?P<types>(?:- Expected a .*\s+)+)Given value type: .*\s+Given value: (?P<value>.*)")
_TYPE = re.compile(r"Literal\[(.+?)\]|<class '([\w.]+)'>")
_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "tuple": "a list"}
_TYPES |= {"NoneType": "null"}
_KINDS = {"dataset": Dataset, "views": Views, "encoder": Encoder, "method": Method, "objective": Objective}
"""Settings that are a class -> what it is derived from."""


def explain(text: str, parser: ArgumentParser) -> str:
    """The parser's error ``text``, with the nearest right name where it complains about a name, in one line."""
    text = text.strip()
    key = ".".join(_ASKED.findall(text))
    option = _OPTION.search(text)
    if option is not None:
        before = _CLASS.findall(text[: option.start()])
        known = _parameters(before[-1]) if before else list(_keys(parser))
        owner = f" of {_last(before[-1])}" if before else ""
        return f"Unknown setting {option[1]!r}{owner}.{nearest(option[1].split('.')[0], known)}"
    unknown = _UNKNOWN.search(text) or _KEY.search(text)
    if unknown is not None:
        name = unknown[1].lstrip("-")
        return f"Unknown setting {name!r}.{nearest(name, _keys(parser))}"
    path = _PATH.search(text)
    if path is not None:
        asked = f" for {key!r}" if key else ""
        return f"Unknown class {path[1]!r}{asked}.{nearest(path[1], _fitting(key, text))}"
    missing = _MISSING.search(text)
    owners = _CLASS.findall(text[: missing.start()]) if missing is not None else []
    if missing is not None and owners:
        names = " and ".join(f"--{key}.{name.strip()}" for name in missing[1].split(","))
        return f"{_last(owners[-1])}: {names} {'are' if ' and ' in names else 'is'} missing"
    return _unfit(key, text) or text


def _unfit(key: str, text: str) -> str | None:
    """What is said of a value of the wrong type; None where ``text`` speaks of something else."""
    inner = text[max((found.end() for found in _ASKED.finditer(text)), default=0) :]
    # Only what stands there itself: the types that the settings around it could have had are of no use.
    found = _UNION.search(inner) if "Union" in inner.partition("Expected a")[0] else _VALUE.search(inner)
    if found is None or not key:
        return None
    types = [literal.replace("'", "") or _TYPES.get(name, name) for literal, name in _TYPE.findall(found["types"])]
    return message(key, repr(found["value"].partition(". Got value: ")[0]), ", or ".join(types) or found["types"])


def load(class_path: str) -> Any:
    """The class of a class path, as configurations have it."""
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _last(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def _parameters(class_path: str) -> list[str]:
    signature = inspect.signature(load(class_path))
    return [p for p in signature.parameters if p not in ("self", "encoder")]


def _keys(parser: ArgumentParser) -> Iterable[str]:
    return {key.split(".init_args")[0] for key in vars(parser.get_defaults().as_flat())} | {"config", "recipe"}


def _fitting(key: str, text: str) -> set[str]:
    """Short names of the classes of the kind that is asked for by ``key``; of every kind where it is not known."""
    base = _KINDS.get(_last(key))
    if base is not None:
        return loaded(base)
    if "Callable[[int]" in text:  # a head: its width -> module
        return _heads()
    return _heads().union(*map(loaded, _KINDS.values()))


def loaded(base: type) -> set[str]:
    """Short names of every loaded class that is derived from ``base`` and may be asked for."""
    names: set[str] = set()
    queue: list[type] = [base]
    while queue:
        found: list[type] = queue.pop().__subclasses__()
        queue += found
        names |= {cls.__name__ for cls in found if not inspect.isabstract(cls)}
    return names


def _heads() -> set[str]:
    pieces = importlib.import_module("counterpoint.nn")
    return {name for name in pieces.__all__ if _is_module(getattr(pieces, name))}


def _is_module(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, nn.Module)
