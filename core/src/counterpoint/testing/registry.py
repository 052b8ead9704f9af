"""The list of checks. A check is a small function; what it raises is why the part fails.

``@check("encoders", after=("views/seeded",))`` puts a function into the list. Its name is the check's, its docstring
says what is checked. ``after`` names checks that must not have failed on what it builds upon (for its own kind the same
part, for another kind the part that is used): so that one fault is told once, by the check that is meant for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from counterpoint.errors import message

if TYPE_CHECKING:
    from counterpoint.testing.session import Session

KINDS = ("plugin", "datasets", "views", "encoders", "methods", "tasks", "apps")
FOUR = ("datasets", "views", "encoders", "tasks")
Function = Callable[["Session", str], "str | None"]


class Wrong(AssertionError):
    """A part does not do what the contract says."""


class NotHere(Exception):
    """A check cannot be made in this place; the text is the written reason of the skip."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        kind: of the parts that it looks at.
        name: short; with kind and part it names the case.
        summary: what is checked.
        run: session and part's name -> a remark or nothing; raises where the part fails.
        after: checks as ``"kind/name"`` without which it would tell nothing new.
    """

    kind: str
    name: str
    summary: str
    run: Function
    after: tuple[str, ...]


CHECKS: list[Check] = []


def check(kind: str, after: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Put the decorated function into the list of checks."""

    def listed(function: Function) -> Function:
        name = function.__name__.strip("_")
        summary = re.sub(r"\s+", " ", (function.__doc__ or "").strip())
        CHECKS.append(Check(kind, name, summary, function, after))
        return function

    return listed


def require(true: object, what: str, found: object, allowed: object, todo: str = "") -> None:
    """Raise `Wrong` in the form of all our errors, unless ``true``."""
    if not true:
        wrong(what, found, allowed, todo)


def wrong(what: str, found: object, allowed: object, todo: str = "") -> NoReturn:
    """Raise `Wrong` in the form of all our errors."""
    raise Wrong(message(what, found, allowed, todo))
