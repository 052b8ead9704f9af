"""The report's own sections, in the order of the page. Each takes a `Context` and returns a `Section`."""

from __future__ import annotations

from collections.abc import Callable

from counterpoint.report.context import Context
from counterpoint.report.section import Section
from counterpoint.report.sections.answers import answers
from counterpoint.report.sections.curves import curves
from counterpoint.report.sections.embeddings import embedding_map, neighbours
from counterpoint.report.sections.facts import facts
from counterpoint.report.sections.probe import confusion
from counterpoint.report.sections.quality import quality
from counterpoint.report.sections.scores import scores
from counterpoint.report.sections.spaces import spaces

__all__ = ["AFTER", "BEFORE", "Write", "answers"]

Write = Callable[[Context], "Section | None"]
"""A section's function; None where there is nothing to show."""

BEFORE: dict[str, Write] = {
    "quality": quality,
    "spaces": spaces,
    "curves": curves,
    "scores": scores,
    "map": embedding_map,
    "neighbours": neighbours,
    "confusion": confusion,
}
"""Sections before those of the plugin."""
AFTER: dict[str, Write] = {"facts": facts}
"""Sections behind them."""
