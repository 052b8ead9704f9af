"""What each stage learnt, and how the samples were divided for it."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from counterpoint.report.charts import Line, LineChart, level
from counterpoint.report.context import Context, Metrics, Missing
from counterpoint.report.section import Grid, HasHtml, Section, Table, number, number_whole, percent
from counterpoint.report.sections.curves import knn_metric
from counterpoint.training.logs import read_metrics
from counterpoint.training.stages import CELLS


def stages(context: Context) -> Section:
    """One row and one line a stage."""
    logs = [read_metrics(path) for path in context.stages]
    parts: list[str | HasHtml] = [
        Table(
            ("stage", "updates", "loss", "chance", "cells", "samples of a cell", "an epoch sees", "NMI"),
            [_row(context, number, log) for number, log in enumerate(logs)],
            "Stages",
        )
    ]
    lead = (
        "Encoders were trained one after the other, and stand side by side in this run's encoder. From the second "
        "stage on, all samples of a batch are of one cell: what the stages before put together. There the loss is "
        "higher, as what is easy tells nothing apart any more; below chance, something else is learnt."
    )
    told = "NMI: how far the clusters in a stage's space are the classes, 0 not at all, 1 the same."
    return Section("Stages", lead, [*parts, told, Grid(_charts(logs))])


def _row(context: Context, stage: int, log: Metrics) -> list[str]:
    loss, chance, coverage = (_last(log, name) for name in ("train/loss", "train/chance", "data/coverage"))
    sizes = _sizes(context, stage)
    return [
        str(stage),
        number_whole(max((points[-1][0] for points in log.values() if points), default=0)),
        number(loss),
        number(chance),
        str(len(sizes)) if len(sizes) else "all in one",
        f"{number_whole(sizes.min())} to {number_whole(sizes.max())}" if len(sizes) else "–",
        percent(coverage) if coverage is not None else "–",
        number(_agreement(context, stage)),
    ]


def _last(log: Metrics, name: str) -> float | None:
    return log[name][-1][1] if log.get(name) else None


def _column(context: Context, stage: int, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions in the dataset and a column of the stage's cells; None where it has none."""
    path = context.run.path / "stages" / str(stage) / CELLS
    if not path.is_file():
        return None
    table = pq.read_table(path)
    return table["index"].to_numpy(), table[name].to_numpy()


def _sizes(context: Context, stage: int) -> np.ndarray:
    found = _column(context, stage, "cell")
    cells = np.empty(0, dtype=np.int64) if found is None else found[1]
    counts: np.ndarray = np.unique(cells[cells >= 0], return_counts=True)[1]
    return counts


def _agreement(context: Context, stage: int) -> float | None:
    """NMI of the clusters in a stage's space with the classes; None where one of them is not known."""
    found = _column(context, stage + 1, "cluster")  # the next stage's table says how this one was clustered
    try:
        labels = context.dataset.labels
    except Missing:
        return None
    if found is None or labels is None:
        return None
    from sklearn.metrics import normalized_mutual_info_score

    index, clusters = found
    known = (labels[index] >= 0) & (clusters >= 0)
    return float(normalized_mutual_info_score(labels[index][known], clusters[known])) if known.any() else None


def _charts(logs: list[Metrics]) -> list[HasHtml]:
    losses = [Line(f"stage {n}", log["train/loss"], n + 1) for n, log in enumerate(logs) if log.get("train/loss")]
    charts: list[HasHtml] = []
    if losses:
        chance = [log["train/chance"][-1][1] for log in logs if log.get("train/chance")]
        levels = [level("chance", chance[0], losses)] if chance else []
        charts.append(LineChart("Loss", [*losses, *levels], "each stage from its own start"))
    name = next((found for found in map(knn_metric, logs) if found), None)
    if name is not None:
        lines = [Line(f"stage {n}", log.get(f"val/{name}", []), n + 1) for n, log in enumerate(logs)]
        charts.append(LineChart("kNN accuracy", lines, "of each stage alone, on held-out samples", share=True))
    return charts
