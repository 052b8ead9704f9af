"""Do the scores of positives and negatives come apart?"""

from __future__ import annotations

from counterpoint.report.charts import Line, LineChart, Ridges
from counterpoint.report.context import Context, Metrics, Missing
from counterpoint.report.section import Grid, HasHtml, Section
from counterpoint.training.volatility import WINDOW, volatility

LEAD = (
    "Cosine scores between two views of one sample, and between views of different samples. "
    "The further the two hills come apart, the better a sample is told from all others. Scores that stay restless "
    "late in training point to a learning rate that is too high or, with a momentum encoder, to keys that move fast."
)
MEANS = {"positives": "batch/positive", "negatives": "batch/negative", "queue": "queue/negative"}
COLORS = {"positives": 1, "negatives": 2, "queue": 3}
MOST = 8
"""Epochs that are drawn, spread evenly, the first and the last among them."""


def scores(context: Context) -> Section:
    """Histograms of cosine scores, epoch by epoch, and their moments over the updates.

    Raises:
        Missing: no epoch has ended, or the method compares no pairs.
    """
    found = context.scores
    if not found:
        if context.finished:
            raise Missing("This method compares no pairs, so there is no score to count.")
        raise Missing("No score was counted yet: the histograms are written at the end of each epoch.")
    epochs = sorted({one.epoch for one in found})
    count = min(MOST, len(epochs))
    chosen = {epochs[round(i * (len(epochs) - 1) / max(1, count - 1))] for i in range(count)}
    ridges = Ridges([one for one in found if one.epoch in chosen])
    return Section("Positives and negatives", LEAD, [ridges, Grid(_over_time(context.metrics))])


def _over_time(metrics: Metrics) -> list[HasHtml]:
    """Mean, variance and volatility of the scores, update by update."""
    means = {kind: metrics[name] for kind, name in MEANS.items() if metrics.get(name)}
    variances = {kind: metrics[f"{MEANS[kind]}_variance"] for kind in means if metrics.get(f"{MEANS[kind]}_variance")}
    restless = {kind: volatility(points) for kind, points in means.items() if len(points) > 1}
    charts = [
        ("Mean score", means, "far apart is good"),
        ("Variance of the scores", variances, "of negatives: that of one anchor's, on average"),
        ("Volatility of the mean score", restless, f"its jumps between two looks at a batch, over {WINDOW} of them"),
    ]
    return [
        LineChart(title, [Line(kind, points, COLORS[kind]) for kind, points in shown.items()], note)
        for title, shown, note in charts
        if shown
    ]
