"""Do the scores of positives and negatives come apart?"""

from __future__ import annotations

from counterpoint.report.charts import Ridges
from counterpoint.report.context import Context, Missing
from counterpoint.report.section import Section

MOST = 8
"""Epochs that are drawn, spread evenly, the first and the last among them."""


def scores(context: Context) -> Section:
    """Histograms of cosine scores, epoch by epoch.

    Raises:
        Missing: no epoch has ended, or the method compares no pairs.
    """
    found = context.scores
    if not found:
        raise Missing("No score was counted yet: the histograms are written at the end of each epoch.")
    epochs = sorted({one.epoch for one in found})
    count = min(MOST, len(epochs))
    chosen = {epochs[round(i * (len(epochs) - 1) / max(1, count - 1))] for i in range(count)}
    lead = (
        "Cosine scores between two views of one sample, and between views of different samples. "
        "The further the two hills come apart, the better a sample is told from all others."
    )
    return Section("Positives and negatives", lead, [Ridges([one for one in found if one.epoch in chosen])])
