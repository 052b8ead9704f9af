"""Several runs beside each other: a table at the shell, and a page with the table and everybody's curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from counterpoint.errors import ConfigError, CounterpointError, message
from counterpoint.evaluation.table import share, smaller_is_better
from counterpoint.report.charts import Line, LineChart, level
from counterpoint.report.context import Context
from counterpoint.report.page import render, write_page
from counterpoint.report.section import Grid, Table, measure, number, number_whole
from counterpoint.report.sections.curves import knn_metric
from counterpoint.run import Run
from counterpoint.training.verdict import SHOWN

FEWEST = 2
UNTOLD = {"out"}
"""Settings that differ between any two runs and tell nothing."""
CURVES = (
    ("Loss", "train/loss", "lower is better, where objective and batch are the same"),
    ("Effective rank", "batch/rankme", "dimensions in use: higher is better"),
    ("Spread", "batch/std", "1 is healthy, 0 is collapse"),
    ("Similarity of views", "batch/positive", "mean cosine of two views of one sample"),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare_runs` found.

    Attributes:
        names: of the runs, unique.
        rows: name of a number -> its text for each run.
        settings: setting -> its text for each run, all of them.
        differing: settings that are not the same everywhere.
        foreign: runs on other data than the first: not comparable with it.
    """

    names: list[str]
    rows: dict[str, list[str]]
    settings: dict[str, list[str]]
    differing: list[str]
    foreign: list[str]

    @property
    def headings(self) -> list[str]:
        """The names, those on other data marked."""
        return [f"{name} (other data)" if name in self.foreign else name for name in self.names]

    @property
    def warning(self) -> str:
        """What is not comparable, in a sentence; empty where all is."""
        if not self.foreign:
            return ""
        return (
            f"Not comparable with {self.names[0]}: {', '.join(self.foreign)}. The data digest differs (or is not known "
            "yet), so the numbers are of other data."
        )


def compare_runs(runs: Sequence[str | Path], out: Path | None = None, console: Console | None = None) -> Comparison:
    """Lay runs beside each other.

    Args:
        runs: two run directories or more; the first is what the others are compared with.
        out: HTML file; None writes none.
        console: where the table goes.

    Raises:
        ConfigError: fewer than two runs.
        RunError: one of them is none, or the page cannot be written.
    """
    if len(runs) < FEWEST:
        raise ConfigError(message("RUN", f"{len(runs)} run", "two or more", "For one: counterpoint report RUN"))
    contexts = [Context(Run(path)) for path in runs]
    found = compared_contexts(contexts)
    console = console or Console()
    _print(found, console)
    if out is not None:
        write_page(out, _page(found, contexts))
        console.print(f"As a page, with curves: {out}", soft_wrap=True, markup=False)
    return found


def compared_contexts(contexts: Sequence[Context]) -> Comparison:
    """Numbers, settings and what differs."""
    names = _unique([context.run.path.resolve() for context in contexts])
    flat = [dict(_flat(context.config)) for context in contexts]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    settings = {key: [one.get(key, "–") for one in flat] for key in keys if key not in UNTOLD}
    differing = [key for key, values in settings.items() if len(set(values)) > 1]
    first = contexts[0].facts.get("digest")
    foreign = [n for n, c in zip(names[1:], contexts[1:]) if first is None or c.facts.get("digest") != first]
    return Comparison(names, _rows(contexts), settings, differing, foreign)


def _unique(paths: Sequence[Path]) -> list[str]:
    """The directories' names, with as much of the path before them as tells them apart."""
    for length in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} ({number})" for number, path in enumerate(paths, 1)]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted settings and their texts; ``init_args`` and the modules of classes are left out, as people leave them."""
    for key, value in config.items():
        name = prefix if key in ("init_args", "class_path") else f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, str(value).rsplit(".", 1)[-1] if key == "class_path" else str(value)


def _rows(contexts: Sequence[Context]) -> dict[str, list[str]]:
    rows = {
        "verdict": [_verdict(context) for context in contexts],
        "recipe": [str(context.config.get("recipe")) for context in contexts],
        "data digest": [str(context.facts.get("digest", "not finished"))[:16] for context in contexts],
        "updates": [number_whole(context.updates) for context in contexts],
        "seconds": [_seconds(context) for context in contexts],
        "samples per second": [number(context.facts.get("samples_per_second")) for context in contexts],
    }
    for label, metric in (("loss", "train/loss"), ("its chance level", "train/chance"), ("rank", "batch/rankme")):
        rows[label] = [number(_last(context, metric)) for context in contexts]
    for name in _online(contexts):
        for row, prefix in (("val", "val"), (contexts[0].before, "untrained")):
            rows[f"online {row} {name}"] = [measure(name, _last(context, f"{prefix}/{name}")) for context in contexts]
    return rows | _measured(contexts)


def _online(contexts: Sequence[Context]) -> list[str]:
    """What the monitors measured on val and people look at first: what chose an epoch, or a task's; and the kNN."""
    wanted = [context.config.get("select") or SHOWN.get(context.task) for context in contexts]
    wanted += [knn_metric(context.metrics) for context in contexts]
    return [name for name in dict.fromkeys(wanted) if name and any(c.metrics.get(f"val/{name}") for c in contexts)]


def _seconds(context: Context) -> str:
    return number(context.facts.get("seconds")) + (" since it was resumed" if context.untimed else "")


def _measured(contexts: Sequence[Context]) -> dict[str, list[str]]:
    """What `counterpoint evaluate` found for each learnt encoder, split by split."""
    rows: dict[str, list[str]] = {}
    for split in ("val", "test"):
        learnt = [context.evaluation(split).get("metrics", {}).get("learnt", {}) for context in contexts]
        for metric in dict.fromkeys(name for one in learnt for name in one if not name.endswith(",ci]")):
            rows[f"{split} {metric}"] = [measure(metric, one.get(metric)) for one in learnt]
    return rows


def _verdict(context: Context) -> str:
    try:
        state = context.verdict.state if context.verdict else "nothing logged"
    except CounterpointError as error:
        return f"unreadable: {error}"
    return str(state) if context.finished else f"{state} (not finished)"


def _last(context: Context, metric: str) -> float | None:
    points = context.metrics.get(metric)
    return points[-1][1] if points else None


def _print(found: Comparison, console: Console) -> None:
    table = RichTable(title="Runs beside each other")
    table.add_column("", no_wrap=True)
    for name, heading in zip(found.names, found.headings):
        table.add_column(escape(heading), justify="right", style="yellow" if name in found.foreign else None)
    for label, cells in found.rows.items():
        table.add_row(escape(label), *map(escape, cells))
    if found.differing:
        table.add_section()
        for key in found.differing:
            table.add_row(f"[bold]≠ {escape(key)}[/]", *(f"[bold]{escape(v)}[/]" for v in found.settings[key]))
    console.print(table)
    if found.warning:
        console.print(f"[yellow]{escape(found.warning)}[/]", soft_wrap=True)


def _page(found: Comparison, contexts: Sequence[Context]) -> str:
    marked = frozenset(i for i, key in enumerate(found.settings) if key in found.differing)
    return render(
        "compare.html.jinja",
        names=found.names,
        warning=found.warning,
        numbers=Table(("", *found.headings), [[label, *cells] for label, cells in found.rows.items()], "Numbers"),
        curves=Grid(overlaid(found.names, contexts)),
        differing=Table(
            ("setting", *found.names), [[key, *found.settings[key]] for key in found.differing], "What differs"
        )
        if found.differing
        else "Nothing but the output directory: the settings are the same.",
        settings=Table(("setting", *found.names), [[k, *v] for k, v in found.settings.items()], "All settings", marked),
    )


def overlaid(names: Sequence[str], contexts: Sequence[Context]) -> list[LineChart]:
    """The runs' curves in one chart a metric; dashes tell apart what colours cannot."""
    loss, *others = CURVES
    charts = []
    for title, metric, note in (loss, *(_curve(name, contexts[0]) for name in _online(contexts)), *others):
        lines = [
            Line(name, context.metrics[metric], 1 + number % 8, ("", "dash", "dot")[number // 8 % 3])
            for number, (name, context) in enumerate(zip(names, contexts))
            if context.metrics.get(metric)
        ]
        if not lines:
            continue
        if metric.startswith("val/"):
            start = contexts[0].metrics.get(metric.replace("val/", "untrained/"))
            lines += [level(contexts[0].before, start[-1][1], lines, "dot")] if start else []
        charts.append(LineChart(title, lines, note, share(metric.removeprefix("val/")), metric == "batch/std"))
    return charts


def _curve(metric: str, first: Context) -> tuple[str, str, str]:
    """Title, full name and note of a metric that the monitors measured on val."""
    title = "kNN accuracy" if metric.startswith("knn[") else first.words.get(metric, (metric, ""))[0]
    better = "; lower is better" if smaller_is_better(metric) else ""
    return title, f"val/{metric}", f"held-out samples{better}; dotted: the first run's encoder {first.before}"
