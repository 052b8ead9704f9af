"""Objectives x methods x plugins as a table, by the very rule that refuses a cell when a method is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from commands import table
from counterpoint.methods.base import Method
from counterpoint.methods.fit import kinds, refusal
from counterpoint.methods.registry import FINE_TUNING, METHODS
from counterpoint.objectives import Objective
from counterpoint.plugin import Part, Plugin
from counterpoint.training.needs import lacks, methods_of

YES = "●"


@dataclass(slots=True)
class Column:
    """Methods that take the same objectives on the same plugins.

    Attributes:
        methods: their names.
        plugins: on which they run.
        why: objective -> why it is refused, or None where it is not.
    """

    methods: list[str]
    plugins: list[str]
    why: dict[type[Objective], str | None]

    @property
    def head(self) -> str:
        """Names, and below them the plugins."""
        return f"{', '.join(f'`{name}`' for name in self.methods)}<br>{', '.join(self.plugins)}"


def _methods(plugins: Sequence[Plugin]) -> Iterator[tuple[str, Part, list[str]]]:
    """Name, part and plugins of every method that has a choice of objectives; a plugin's own after the core's."""
    named: Mapping[str, Mapping[str, Part]] = {plugin.name: methods_of(plugin) for plugin in plugins}
    own = {name: part for plugin in plugins for name, part in plugin.methods.items()}
    for name, part in {**METHODS, **FINE_TUNING, **own}.items():
        runs = [p.name for p in plugins if _runs(p, name, part, named[p.name])]
        if part.load().calls_with:
            yield name, part, runs


def _runs(plugin: Plugin, name: str, part: Part, known: Mapping[str, Part]) -> bool:
    if part in FINE_TUNING.values():  # which refuses encoders of several modalities
        return any("modalities" not in encoder.capabilities for encoder in plugin.encoders.values())
    return known.get(name) == part and not lacks(plugin, part)


def columns(plugins: Sequence[Plugin]) -> list[Column]:
    """Methods that are alike stand together."""
    found: list[Column] = []
    for name, part, runs in _methods(plugins):
        cls: type[Method] = part.load()
        why = {kind: refusal(cls, kind) for kind in kinds()}
        same = next((column for column in found if (column.plugins, column.why) == (runs, why)), None)
        if same is None:
            found.append(Column([name], runs, why))
        else:
            same.methods.append(name)
    return found


def objectives(plugins: Sequence[Plugin]) -> str:
    """The table, and below it what its letters say."""
    made = columns(plugins)
    letters: dict[str, str] = {}
    rows = []
    for kind in kinds():
        cells = []
        for column in made:
            why = column.why[kind]
            cells.append(YES if why is None else letters.setdefault(why, chr(ord("a") + len(letters))))
        rows.append([f"`{kind.__name__}`", *cells])
    told = "\n".join(f"- **{letter}**: {_code(why)}" for why, letter in letters.items())
    return f"{table(['', *(column.head for column in made)], rows)}\n\nRefused, because\n\n{told}"


def _code(why: str) -> str:
    """Arguments in the reason as code."""
    words = why.replace("would be ignored", "|").replace("it is not called with", "~").split()
    keep = {"and", "its", "|", "~"}
    told = " ".join(word if word in keep else f"`{word}`" for word in words)
    return told.replace("|", "would be ignored").replace("~", "it is not called with")
