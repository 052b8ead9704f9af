"""How good is it? The evaluation beside its baselines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from counterpoint.evaluation.table import CHANCE, share, with_chance
from counterpoint.report.context import Context
from counterpoint.report.section import Code, Folded, HasHtml, Section, Table, measure
from counterpoint.report.sections.curves import knn_metric
from counterpoint.training.verdict import STARTED, UNTRAINED

Rows = Mapping[str, Mapping[str, float | None]]
SHAPES = {
    "learnt": "learnt",
    UNTRAINED: "ring",
    STARTED: "ring",
    "raw input": "square",
    "raw input, PCA": "diamond",
    CHANCE: "bar",
}
OTHERS = ("square", "diamond", "bar")
"""Shapes of a protocol's floors, in turn."""
_PLAIN = (
    (r"knn\[k=(\d+),T=[\d.]+\]$", "kNN, k = {}", "the nearest training samples vote"),
    (r"linear\[lbfgs\]$", "Linear probe", "logistic regression on frozen features"),
    (r"fewshot\[k=(\d+),draws=\d+\]$", "{} labels per class", "a probe that sees so few"),
    (r"recall@(\d+)(?:\[|$)", "Recall@{}", "a sample of the class among the first"),
    (r"map(?:\[|$)", "Mean average precision", "of the search for the class"),
    (r"nmi$", "Clusters (NMI)", "k-means found without labels"),
    (r"view_recall@1\[n=(\d+)\]$", "Finds its other view", "among {} views; needs no labels"),
)


def quality(context: Context) -> Section:
    """The numbers that matter beside raw input, PCA, the untrained encoder and chance."""
    measured = context.measured
    if not measured:
        return _online(context)
    split = {"val": "validation", "test": "test"}.get(measured["split"], measured["split"])
    rows = with_chance(measured["metrics"], measured.get("classes") or context.classes)
    when = measured["date"][:10]
    lead = (
        f"Measured by counterpoint evaluate on the {split} split, on frozen features, {when}. "
        "An encoder is worth something where it stands to the right of everything else."
    )
    if context.task:
        lead = (
            f"Answers of the fine-tuned run, measured on the {split} split, {when}. Fine-tuning was worth it where "
            "they stand to the right of a probe on the encoder that it began with."
        )
    if measured.get("digest") not in (None, context.facts.get("digest")):
        lead += f" This is other data than that of the training: {measured['data']}."
    parts: list[str | HasHtml] = [
        DotPlot(rows, context.words),
        Folded("All numbers", full_table(rows)),
    ]
    return Section("How good is it?", lead, parts)


def _online(context: Context) -> Section:
    """Before `counterpoint evaluate`: what the monitor measured."""
    knn = knn_metric(context.metrics)
    what = f"For the test split, and {_beside(context, knn)} beside it"
    todo: list[str | HasHtml] = [f"{what}, finish the run first."]
    if context.finished:
        todo = [f"{what}, run:", Code(context.command("evaluate"))]
    wanted = [*context.words, *([knn] if knn else [])]
    names = [name for name in wanted if f"val/{name}" in context.metrics]
    if not names:
        return Section("How good is it?", "Not measured yet.", todo)
    rows: dict[str, dict[str, float]] = {}
    learnt = {name: context.look(name) for name in names}
    start = {name: context.metrics.get(f"untrained/{name}") for name in names}
    rows["learnt"] = {name: value for name, value in learnt.items() if value is not None}
    if any(start.values()):
        rows[context.before] = {name: points[-1][1] for name, points in start.items() if points}
    # what a protocol measures has levels of its own, which only its floors know
    plot = DotPlot(rows if context.words else with_chance(rows, context.classes), context.words)
    return Section("How good is it?", _looked(context), [plot, *todo])


def _beside(context: Context, knn: str | None) -> str:
    """What `counterpoint evaluate` will set beside the encoder: without labels there are no probes."""
    if context.task:
        return "a probe on the frozen encoder"
    if context.words:
        return "what needs no training"
    return "the raw input" if knn is None else "the linear probe, few labels, search, the raw input"


def _looked(context: Context) -> str:
    """At what the monitor looked, and whether the labels that it measured by were told to training."""
    look = "last look at the validation split"
    if context.stages:
        look += f", at the encoder of stage {len(context.stages) - 1} alone and not at all of them side by side"
    if context.kept:
        look = f"look at the validation split after epoch {context.kept['epoch'] + 1:.0f}, whose encoder was kept"
    if context.task:
        return f"The monitor's {look}: the head's answers."
    used = {True: " Labels were used in training.", False: " Labels were not used in training."}
    told = "" if context.words or context.labelled is None else used[context.labelled]
    return f"The monitor's {look}, on frozen features.{told}"


def plain(metric: str) -> tuple[str, str]:
    """A metric's name and explanation in plain words."""
    for pattern, name, about in _PLAIN:
        found = re.match(pattern, metric)
        if found:
            return name.format(*found.groups()), about.format(*found.groups())
    return metric, ""


@dataclass(frozen=True, slots=True)
class DotPlot:
    """One line a metric, one mark an encoder or baseline, from 0 to 1; shapes differ as well as colours.

    What lies outside (an R² below 0) stands at the end.

    Attributes:
        rows: encoder or baseline -> metric -> value.
        words: a protocol's metrics, in plain words; where there are any, these are shown.
    """

    rows: Rows
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __html__(self) -> str:
        found = {metric for row in self.rows.values() for metric in row}
        shown = [metric for metric in self.words if metric in found] or chosen(
            [metric for found in self.rows.values() for metric in found]
        )
        lines = Markup("").join(self._line(metric) for metric in shown)
        names = [name for name, found in self.rows.items() if any(found.get(metric) is not None for metric in shown)]
        key = Markup("").join(
            Markup('<span><i class="mark {}"></i>{}</span>').format(self._shape(name), name) for name in names
        )
        scale = "0 to 100%" if all(map(share, shown)) else "0 to 1"
        return Markup('<figure class="dots"><figcaption>{}<span>each line: {}</span></figcaption>{}</figure>').format(
            key, scale, lines
        )

    def _shape(self, row: str) -> str:
        floors = [name for name in self.rows if name not in SHAPES]
        return SHAPES[row] if row in SHAPES else OTHERS[floors.index(row) % len(OTHERS)]

    def _line(self, metric: str) -> Markup:
        name, about = self.words.get(metric) or plain(metric)
        values = {row: found.get(metric) for row, found in self.rows.items()}
        known = {row: v for row, v in values.items() if v is not None and math.isfinite(v)}
        told = ", ".join(f"{row} {measure(metric, value)}" for row, value in known.items())
        marks = Markup("").join(
            Markup('<i class="mark {}" style="left:{:.2f}%"></i>').format(
                self._shape(row), 100 * min(1.0, max(0.0, value))
            )
            for row, value in reversed(known.items())  # the learnt encoder's mark lies on top
        )
        best = max((v for row, v in known.items() if row != "learnt"), default=None)
        beside = f"best other {measure(metric, best)}" if best is not None else ""
        return marked_line(name, about, told, marks, measure(metric, known.get("learnt")), beside)


def marked_line(name: str, about: str, told: str, marks: Markup, value: str, beside: str) -> Markup:
    """One line of a plot of marks: what it is, the marks (in words ``told``), the value and what it is held against."""
    return Markup(
        '<div class="metric"><div class="what"><b>{name}</b><span>{about}</span></div>'
        '<div class="track" role="img" tabindex="0" aria-label="{name}: {told}" data-tip="{told}">{marks}</div>'
        '<div class="value"><b>{value}</b><span>{beside}</span></div></div>'
    ).format(name=name, about=about, told=told, marks=marks, value=value, beside=beside)


def chosen(metrics: Sequence[str]) -> list[str]:
    """The few metrics of the first picture, each at most once: of few labels 5 per class, or what is next to it."""
    unique = list(dict.fromkeys(metrics))
    few = [m for m in unique if m.startswith("fewshot[") and not m.endswith(",ci]")]
    few.sort(key=lambda metric: abs(int(re.findall(r"k=(\d+)", metric)[0]) - 5))
    wanted = [m for m in unique if m.startswith("knn[") and "balanced" not in m][:1]
    wanted += [m for m in unique if m == "linear[lbfgs]"] + few[:1]
    wanted += [m for m in unique if re.match(r"recall@1(\[|$)", m) or m == "nmi" or m.startswith("view_recall@1")]
    return wanted


def full_table(rows: Rows) -> Table:
    """Every metric of every row, under the names of the protocol."""
    metrics = list(dict.fromkeys(metric for found in rows.values() for metric in found if not metric.endswith(",ci]")))
    lines = []
    for metric in metrics:
        cells = []
        for found in rows.values():
            half = found.get(f"{metric[:-1]},ci]")
            cells.append(measure(metric, found.get(metric)) + (f" ± {100 * half:.1f}" if half is not None else ""))
        lines.append([metric, *cells])
    return Table(("metric", *rows), lines, "All metrics")
