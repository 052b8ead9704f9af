"""Every error that Counterpoint raises on purpose, in one tree.

::

    CounterpointError
    ├── ConfigError     a setting, a key or a name that is not right        (also a ValueError)
    ├── DataError       a file, a table or a sample that cannot be used      (also a ValueError)
    ├── ShapeError      a tensor whose shape, type or values do not fit      (also a ValueError)
    ├── PluginError     a plugin that is missing, too old, broken or doubled
    ├── RunError        a run directory that is missing, unfinished or foreign
    ├── TrainingError   training cannot go on (non-finite loss, no disk)
    └── Interrupted     training was asked to stop, and its state is saved

A message names the argument, what was found, what is allowed, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CounterpointError(Exception):
    """Root of the tree; catch this to catch all of them."""


class ConfigError(CounterpointError, ValueError):
    """A setting, a key or a name that is not right."""


class DataError(CounterpointError, ValueError):
    """A file, a table or a sample that cannot be used."""


class ShapeError(CounterpointError, ValueError):
    """A tensor whose shape, dtype or values do not fit."""


class PluginError(CounterpointError):
    """A plugin that is missing, too old, broken or doubled."""


class RunError(CounterpointError):
    """A run directory that is missing, unfinished or foreign."""


class TrainingError(CounterpointError):
    """Training cannot go on."""


class Interrupted(CounterpointError):
    """Training was asked to stop; its state is saved and the message says how to go on."""


def message(argument: str, found: object, allowed: object, todo: str = "") -> str:
    """One form for every error text: ``argument: found …; allowed …. What to do.``"""
    text = f"{argument}: found {found}; allowed: {allowed}."
    return f"{text} {todo}".rstrip()


def unknown(argument: str, found: str, known: Iterable[str], allowed: str = "") -> str:
    """The text for a name that is none of ``known``: those, or ``allowed`` in words, and the nearest if one is near."""
    known = list(known)
    return message(argument, repr(found), allowed or ", ".join(known) or "none", suggestion(found, known))


def suggestion(name: str, known: Iterable[str]) -> str:
    """``"Did you mean 'simclr'?"`` for a misspelt name; empty where none is near."""
    lowered = {k.lower(): k for k in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f"Did you mean {lowered[close[0]]!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """`suggestion`, or the list of what there is, with a space before it."""
    known = sorted(known)
    there = f"There is: {', '.join(known)}." if known else "There is none."
    return f" {suggestion(name, known) or there}"
