"""The page: the sections of a run put together, rendered, and written in one piece."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from counterpoint._version import __version__
from counterpoint.errors import CounterpointError, RunError, message
from counterpoint.files import write_text
from counterpoint.report.context import Context, Missing
from counterpoint.report.headline import Headline, headline
from counterpoint.report.section import HasHtml, Section
from counterpoint.report.sections import AFTER, BEFORE, Write, answers
from counterpoint.report.sections.stages import stages
from counterpoint.run import Run

REPORT = "report.html"
LARGEST = 5_000_000
"""Bytes of a page: it must open at once, and pass as an attachment."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """A section as it stands on the page.

    Attributes:
        key: its anchor.
        title: heading.
        lead: sentences below it.
        body: rendered parts.
        note: why there is none.
        failed: whether a bug is to blame.
    """

    key: str
    title: str
    lead: str = ""
    body: Sequence[Markup] = ()
    note: str = ""
    failed: bool = False

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(len(part.encode()) for part in self.body)


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes:
        path: the file.
        failures: sections that failed, each with the reason; they say so in their place.
    """

    path: Path
    failures: list[str] = field(default_factory=list)


def write_report(run: str | Path | Run, out: Path | None = None) -> Report:
    """Write the report of a run, finished or not.

    A section that fails says so in its place; it loses neither the page nor the other sections.

    Args:
        run: run or its directory.
        out: HTML file (default: ``report.html`` in the run).

    Raises:
        RunError: no run directory, or the file cannot be written (an older report is then unharmed).
    """
    run = run if isinstance(run, Run) else Run(run)
    context = Context(run)
    tried = [_written(key, write, context) for key, write in _functions(context).items()]
    sections = [section for section in tried if section is not None]
    top = _headline(context)
    path = out or run.path / REPORT
    told = {"run": run.path.resolve().name, "config": run.config, "sources": run.sources, "top": top}
    text = render("report.html.jinja", sections=sections, **told)
    while len(text.encode()) > LARGEST and max(s.size for s in sections):
        sections = _without_largest(sections)
        text = render("report.html.jinja", sections=sections, **told)
    write_page(path, text)
    return Report(path, [f"{s.title}: {s.note}" for s in sections if s.failed])


def _functions(context: Context) -> dict[str, Write]:
    """Every section's function: ours, and between them those of the run's plugin."""

    def load_and_write(part: Any) -> Write:
        return lambda given: part.load()(given)  # loading may fail as well: inside, where failing is looked after

    try:
        added = {f"plugin-{name}": load_and_write(part) for name, part in context.run.plugin.report.items()}
    except CounterpointError:  # no encoder yet, or the plugin is gone: the other sections say so
        added = {}
    before = dict(BEFORE)
    if context.task:  # it compares no views; its answers stand first
        del before["scores"]
        first = {"quality": before.pop("quality"), **({"answers": answers} if context.task == "regress" else {})}
        before = {**first, **before}
    if context.task == "regress":  # numbers are not taken for each other
        del before["confusion"]
    staged: dict[str, Write] = {"stages": stages} if context.stages else {}
    return {**before, **staged, **added, **AFTER}


_TITLES = {
    "quality": "How good is it?",
    "spaces": "Common and salient",
    "answers": "Predicted and true",
    "curves": "Is it learning?",
    "scores": "Positives and negatives",
    "map": "Map of the embeddings",
    "neighbours": "Nearest neighbours",
    "confusion": "What is taken for what",
    "stages": "Stages",
    "facts": "The run",
}


def _written(key: str, write: Write, context: Context) -> Written | None:
    """The section, or why there is none; None where there is nothing to show and no reason to tell."""
    title = _TITLES.get(key, key.removeprefix("plugin-").replace("-", " ").capitalize())
    try:
        made: Section | None = write(context)
        if made is None:
            return None
        return Written(key, made.title, made.lead, [_part(part) for part in made.parts])
    except Missing as missing:
        return Written(key, title, note=str(missing))
    except Exception as error:  # a bug in one section, often a plugin's, must not lose the page; it is told and logged
        _LOG.debug("section %s failed", key, exc_info=True)
        reason = str(error) if isinstance(error, CounterpointError) else f"{type(error).__name__}: {error}"
        return Written(key, title, note=f"This section failed: {reason}", failed=True)


def _part(part: str | HasHtml) -> Markup:
    """Strings become paragraphs; what renders itself is taken as it is."""
    return Markup("{}" if hasattr(part, "__html__") else "<p>{}</p>").format(part)


def _headline(context: Context) -> Headline:
    try:
        return headline(context)
    except Exception as error:  # for example a metrics log that somebody edited: the page says so on its top
        _LOG.debug("headline failed", exc_info=True)
        return Headline("open", "The verdict could not be made.", f"{type(error).__name__}: {error}", "", [], "")


def _without_largest(sections: list[Written]) -> list[Written]:
    """The page without its largest section, which says so instead."""
    largest = max(sections, key=lambda section: section.size)
    note = f"Left out: {largest.size / 1e6:.1f} MB are too much for a page of {LARGEST / 1e6:.0f} MB."
    return [Written(s.key, s.title, note=note, failed=True) if s is largest else s for s in sections]


def render(template: str, **values: Any) -> str:
    """A page of ours from its template. Values are escaped; scripts other than ours do not run (by their hash)."""
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_asset("page.css")),
            script=Markup(script),
            script_hash=digest,
            version=__version__,
            date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            **values,
        )
    )


def write_page(path: Path, text: str) -> None:
    """Write the page in one piece.

    Raises:
        RunError: the disk does not take it; what was there before is unharmed.
    """
    try:
        write_text(path, text)
    except OSError as error:
        todo = "Make room, or choose another --out; an older report is unharmed."
        raise RunError(
            message("out", f"{path} cannot be written ({error.strerror})", "a writable file", todo)
        ) from None


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("counterpoint.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


@cache
def _asset(name: str) -> str:
    return (resources.files("counterpoint.report") / "templates" / name).read_text(encoding="utf-8")
