"""What a run learns from: one source, or a background and targets; and which dataset of a plugin opens a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.errors import ConfigError
from counterpoint.parts import Dataset
from counterpoint.plugin import Plugin

SOURCES = ("data", "background", "target")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the samples come from: ``data``, or ``background`` and ``target``.

    Attributes:
        data: a folder, a table, an archive, or the name of a data set.
        background: the same, for samples that show only what is common.
        target: the same, for samples that show something more.

    Raises:
        ConfigError: background without target, or beside ``data``.
    """

    data: str | None = None
    background: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        given = [f"--{name}" for name in SOURCES if getattr(self, name) is not None]
        if given not in ([], ["--data"], ["--background", "--target"]):
            other = {"--background": "--target", "--target": "--background"}.get(given[0]) if len(given) == 1 else None
            found = f"{other} is missing beside {given[0]}" if other else " with ".join(given)
            raise ConfigError(f"{found}: give either --data, or --background and --target")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Sources:
        """Those that a configuration names."""
        return cls(**{name: config.get(name) for name in SOURCES})

    @property
    def contrasted(self) -> bool:
        """Whether these are a background and targets."""
        return self.background is not None

    def __bool__(self) -> bool:
        return self.data is not None or self.contrasted

    def __str__(self) -> str:
        return f"{self.target} against {self.background}" if self.contrasted else str(self.data)


def accepting(plugin: Plugin, source: str) -> type[Dataset] | None:
    """The first of the plugin's datasets that accepts ``source``, or None."""
    classes: list[type[Dataset]] = [part.load() for part in plugin.datasets.values()]
    return next((cls for cls in classes if cls.accepts(source)), None)


def dataset_class(plugin: Plugin, source: str, option: str = "data") -> type[Dataset]:
    """The first of the plugin's datasets that accepts ``source``.

    Raises:
        ConfigError: none does; the message says what each of them opens, and by which option it was asked for.
    """
    cls = accepting(plugin, source)
    if cls is not None:
        return cls
    exists = "" if Path(source).exists() else f" There is no file or folder {source!r}."
    opens = "; ".join(f"{name} ({part.summary})" for name, part in plugin.datasets.items())
    raise ConfigError(f"--{option} {source!r} is nothing that plugin {plugin.name!r} opens.{exists} It opens: {opens}.")
