"""The toy plugin with names that try to get out of their place, and with parts for the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import toy
from counterpoint import plugin as plugins
from counterpoint.plugin import Found, Part
from counterpoint.types import Sample

EVIL = "<script>document.title='stolen'</script>\"'><img src=x onerror=\"document.title='stolen'\">&amp;</title>"
"""What a class, a file or a setting may be called."""


class EvilDigits(toy.Digits):
    """Digits whose names and classes are to be escaped.

    Args:
        source: "digits".
        count: how many of them.
        labelled: with labels or without.
    """

    def __init__(self, source: str, count: int = 400, labelled: bool = True) -> None:
        super().__init__(source, count, labelled)
        if self.classes is not None:
            self.classes = [EVIL if name == "3" else name for name in self.classes]

    def name(self, index: int) -> str:
        return f"{index}{EVIL}"


def strokes(context: Any) -> Any:
    """A plugin's section, with text that must be escaped."""
    from counterpoint.report import Section

    return Section("Strokes", EVIL, [f"{len(context.held_out.index)} digits", EVIL])


def broken(context: Any) -> Any:
    """A plugin's section with a bug."""
    raise KeyError(f"no such stroke {EVIL}")


def nothing(context: Any) -> None:
    """A plugin's section that has nothing to show."""


def nothing_drawn(sample: Sample, side: int) -> None:
    """A thumbnail that is none."""


def huge(context: Any) -> Any:
    """A plugin's section that is larger than a page may be."""
    from counterpoint.report import Section

    return Section("Huge", "", ["x" * 6_000_000])


def thumbnail(sample: Sample, side: int) -> str:
    """What a modality without pictures shows."""
    return f"digit {sample.label} {EVIL}"


def install(patch: pytest.MonkeyPatch, *sections: str) -> None:
    """Make the toy plugin the only one, with these sections for the report (and a thumbnail, if there are any)."""
    report = {name: Part(f"eviltoy:{name}", "") for name in sections}
    shown = Part("eviltoy:thumbnail", "") if sections else None
    evil = {"evil": Part("eviltoy:EvilDigits", "digits with evil names")}
    plugin = replace(toy.TOY, datasets={**evil, **toy.TOY.datasets}, report=report, thumbnail=shown)
    patch.setattr(plugins, "discover", lambda: (Found("toy", "counterpoint-toy", "0", plugin=plugin),))
