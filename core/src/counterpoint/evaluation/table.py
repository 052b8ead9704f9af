"""Results side by side: rich table for the shell, Markdown for documents, JSON for files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Literal

from rich.markup import escape
from rich.table import Table

Rows = Mapping[str, Mapping[str, float]]

_ACCURACY = re.compile(r"^(accuracy|balanced_accuracy|knn|linear|fewshot|fraction|zero_shot@1(\[|$)|recall@1(\[|$))")
_BETTER = re.compile(
    r"^(knn|linear|fewshot|fraction|recall@|true_recall@|map|r_precision|mrr|nmi|ari|view_recall@"
    r"|ndcg@|precision@|hit@|micro_recall@|zero_shot@|accuracy|balanced_accuracy|r2|pearson|spearman)(?!.*\bci\b)"
)
_SIGNED = re.compile(r"^(r2|pearson|spearman)")
_LESS = re.compile(r"^(mae|rmse|gmae|scatter_ratio)")
_COUNTS = ("queries", "images", "texts")
NONE = "–"
CHANCE = "chance"
"""Name of the row of what a guess is worth."""
_VIEWS = re.compile(r"^view_recall@1\[n=(\d+)\]$")


def smaller_is_better(metric: str) -> bool:
    """Whether ``metric`` is an error, or spread within classes: the less the better."""
    return _LESS.match(metric) is not None


def compared(metric: str) -> bool:
    """Whether a larger value of ``metric`` is better, so that a best one can be named.

    Geometry (rank, uniformity, alignment, std) has no best value: alignment is 0 in total collapse.
    """
    return _BETTER.match(metric) is not None


def share(metric: str) -> bool:
    """Whether ``metric`` is a share of 0 to 100 %: correlations and R² are compared too, but may be negative."""
    return compared(metric) and _SIGNED.match(metric) is None


def chance(metric: str, classes: int | None) -> float | None:
    """Value of ``metric`` for a guess: ``1/classes`` for accuracies, ``1/n`` among n views, 0 for NMI and ARI.

    ``1/classes`` is exact for balanced classes; None where a metric has no such level.
    """
    if views := _VIEWS.match(metric):
        return 1 / int(views[1])
    if metric in ("nmi", "ari"):
        return 0.0
    accuracy = _ACCURACY.match(metric) is not None and "ci" not in metric.split(",")[-1]
    return 1 / classes if classes and accuracy else None


def with_chance(rows: Rows, classes: int | None) -> dict[str, Mapping[str, float]]:
    """``rows`` and last that of `chance`, if any metric has such a level; one that a protocol brought is kept."""
    found = {name: row for name, row in rows.items() if name != CHANCE}
    levels = {metric: chance(metric, classes) for row in found.values() for metric in row}
    known = rows[CHANCE] if CHANCE in rows else {metric: at for metric, at in levels.items() if at is not None}
    return {**found, CHANCE: known} if known else found


def comparison(rows: Rows, *, classes: int | None = None, title: str | None = None) -> Table:
    """Table with a row per metric and a column per encoder: the best in bold, the chance level last if there is one.

    Args:
        rows: encoder's or baseline's name -> metric -> value. A metric that one of them lacks shows as "–".
        classes: number of classes, for the chance level.
        title: above the table.
    """
    table, rows = Table(title=title), with_chance(rows, classes)
    for number, heading in enumerate(("metric", *rows)):
        table.add_column(escape(heading), justify="right" if number else "left", no_wrap=not number)
    for line in _lines(rows, "[bold]{}[/bold]"):
        table.add_row(escape(line[0]), *line[1:])
    return table


def markdown(rows: Rows, *, classes: int | None = None) -> str:
    """The same table in Markdown; ends with a newline."""
    rows = with_chance(rows, classes)
    names = [name.replace("|", r"\|") for name in rows]
    head = [["metric", *names], ["---"] + ["---:"] * len(names)]
    body = [[f"`{metric}`", *cells] for metric, *cells in _lines(rows, "**{}**")]
    return "".join(f"| {' | '.join(line)} |\n" for line in head + body)


def to_json(rows: Rows, *, classes: int | None = None, **facts: object) -> str:
    """Rows, and whatever they depend on (data digest, seed, versions), as JSON text; ends with a newline.

    Values that are not finite become null, for JSON has no NaN.
    """
    clean = {name: {m: v if math.isfinite(v) else None for m, v in found.items()} for name, found in rows.items()}
    return json.dumps({**facts, "classes": classes, "metrics": clean}, indent=2, allow_nan=False) + "\n"


def from_json(rows: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float]]:
    """The rows that `to_json` wrote, as they were: null is NaN."""
    return {name: {m: math.nan if v is None else v for m, v in found.items()} for name, found in rows.items()}


def _lines(rows: Rows, bold: str) -> list[list[str]]:
    found: list[list[str]] = []
    fullest_first = sorted(rows.values(), key=len, reverse=True)  # the order of metrics is that of a row that has most
    for metric in dict.fromkeys(metric for found in fullest_first for metric in found):
        if metric.endswith(",ci]"):
            continue  # half width of an interval: it stands behind its mean
        values = {name: row.get(metric, math.nan) for name, row in rows.items()}
        known = [v for name, v in values.items() if name != CHANCE and not math.isnan(v)]
        # several encoders that round to the same best are all best; one encoder alone is not
        pick = max if compared(metric) else min if smaller_is_better(metric) else None
        best = _text(pick(known), metric) if pick is not None and len(known) > 1 else None
        cells = []
        for name, value in values.items():
            shown, half = _text(value, metric), rows[name].get(f"{metric[:-1]},ci]")
            cell = bold.format(shown) if shown == best and name != CHANCE else shown
            cells.append(cell if half is None else f"{cell} ± {half:.3f}")
        found.append([metric, *cells])
    return found


def _text(value: float, metric: str) -> str:
    if math.isnan(value):
        return NONE
    if metric in _COUNTS:
        return f"{value:,.0f}"
    style: Literal[".4f", ".1f"] = ".1f" if metric.startswith(("rankme", "lidar")) else ".4f"
    return format(value, style)
