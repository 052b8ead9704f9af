"""Is it learning? What the monitors wrote, over time."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoint.report.charts import Line, LineChart, level
from counterpoint.report.context import Context, Metrics, Missing
from counterpoint.report.section import Folded, Grid, HasHtml, Section
from counterpoint.training.verdict import UNTRAINED

LEAD = (
    "Each line stands beside the level that says what it is worth: chance, the encoder before training, or the healthy "
    "value."
)


def curves(context: Context) -> Section:
    """Loss, kNN, rank, spread, alignment and uniformity; the optimiser's numbers folded.

    Raises:
        Missing: nothing was logged yet.
    """
    if not context.metrics:
        raise Missing("Nothing was logged yet: the first update has not ended.")
    main = charts(context.metrics, context.classes, context.before, context.labelled)
    lead = f"{LEAD} Stage follows stage: a line jumps where the next one begins." if context.stages else LEAD
    return Section("Is it learning?", lead, [Grid(main), Folded("Optimiser and speed", Grid(_machine(context)))])


def charts(
    metrics: Metrics, classes: int | None = None, before: str = UNTRAINED, labelled: bool | None = False
) -> list[HasHtml]:
    """The charts that these metrics allow.

    Args:
        metrics: of a run.
        classes: number of classes, for the chance level.
        before: what the encoder was before the first update.
        labelled: whether training was given labels; None: not known.
    """
    made = [
        _chart(metrics, "Loss", [("loss", "train/loss")], "lower is better", ends=[("chance", "train/chance")]),
        *_answers(metrics, classes, before),
        _knn(metrics, classes, labelled),
        _chart(
            metrics,
            "Effective rank",
            [("batch", "batch/rankme"), ("held out", "val/rankme")],
            "dimensions in use: higher is better",
            ends=[(before, "untrained/rankme")],
        ),
        _chart(
            metrics,
            "Spread",
            [("batch", "batch/std"), ("held out", "val/std")],
            "1 is healthy, 0 is collapse",
            levels=[("healthy", 1.0)],
            zero=True,
        ),
        _chart(
            metrics,
            "Alignment",
            [("batch", "batch/alignment")],
            "distance of two views of a sample: lower is better, but 0 is collapse",
        ),
        _chart(
            metrics,
            "Uniformity",
            [("batch", "batch/uniformity"), ("held out", "val/uniformity")],
            "lower is more even; 0 is collapse",
            ends=[(before, "untrained/uniformity")],
        ),
    ]
    return [chart for chart in made if chart is not None]


def knn_metric(metrics: Metrics) -> str | None:
    """Name of the online kNN, without its prefix: ``knn[k=20,T=0.07]``."""
    return next((name.partition("/")[2] for name in metrics if name.startswith("val/knn[")), None)


_ANSWERS = {
    "accuracy": ("Accuracy", "of the head's answers on held-out samples"),
    "mae": ("Mean absolute error", "on held-out samples: lower is better"),
    "spearman": ("Rank correlation", "on held-out samples: higher is better"),
}


def _answers(metrics: Metrics, classes: int | None, before: str) -> list[LineChart]:
    """How well a fine-tuned head answers, from the start on: what was worse after it than before must be seen."""
    charts = []
    for metric, (title, note) in _ANSWERS.items():
        looks, start = metrics.get(f"val/{metric}"), metrics.get(f"untrained/{metric}", [])
        if looks:
            lines = [Line("held out", [*start, *looks])]
            lines += [level(before, start[-1][1], lines, "dot")] if start else []
            lines += [level("chance", 1 / classes, lines)] if classes and metric == "accuracy" else []
            charts.append(LineChart(title, lines, note, share=metric == "accuracy"))
    return charts


def _knn(metrics: Metrics, classes: int | None, labelled: bool | None) -> LineChart | None:
    name = knn_metric(metrics)
    if name is None:
        return None
    start = metrics.get(f"untrained/{name}", [])
    lines = [Line("learnt", [*start, *metrics[f"val/{name}"]])]
    if start:
        lines.append(level(UNTRAINED, start[-1][1], lines, "dot"))
    if classes:
        lines.append(level("chance", 1 / classes, lines))
    used = {True: "; labels are used in training", False: "; labels are not used in training", None: ""}[labelled]
    return LineChart("kNN accuracy", lines, f"held-out samples{used}", share=True)


def _chart(
    metrics: Metrics,
    title: str,
    shown: Sequence[tuple[str, str]],
    note: str = "",
    *,
    ends: Sequence[tuple[str, str]] = (),
    levels: Sequence[tuple[str, float]] = (),
    zero: bool = False,
) -> LineChart | None:
    """A chart of the metrics that are there, with levels from metrics (``ends``) or given."""
    lines = [Line(name, metrics[key], number) for number, (name, key) in enumerate(shown, 1) if metrics.get(key)]
    if not lines:
        return None
    base = [
        level(name, metrics[key][-1][1], lines, "dash" if name == "chance" else "dot")
        for name, key in ends
        if metrics.get(key)
    ]
    return LineChart(title, [*lines, *base, *(level(name, value, lines) for name, value in levels)], note, zero=zero)


def _machine(context: Context) -> list[HasHtml]:
    made = [
        _chart(context.metrics, "Learning rate", [("rate", "train/learning_rate")]),
        _chart(context.metrics, "Gradient norm", [("norm", "train/grad_norm")]),
        _chart(
            context.timing,
            "Samples per second",
            [("speed", "time/samples_per_second")],
            "of training, over all processes",
        ),
    ]
    return [chart for chart in made if chart is not None]
