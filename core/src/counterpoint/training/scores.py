"""Histograms of cosine scores, positives and negatives apart: do they separate?

One row an epoch and kind in ``<run>/scores.csv``: ``step,epoch,pair`` and 64 counts over [-1, 1]. Counts are whole
numbers, so that a resumed epoch adds up to exactly what an undisturbed one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from counterpoint.errors import RunError, message
from counterpoint.training import _tables

SCORES = "scores.csv"
BINS = 64
KINDS = ("positive", "negative", "queue")
HEADER = ("step", "epoch", "pair", *(f"bin{number}" for number in range(BINS)))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of the scores of one epoch.

    Attributes:
        step: updates done at the epoch's end.
        epoch: from 0.
        pair: ``"positive"`` (two views of a sample), ``"negative"`` (views of samples of different content) or
            ``"queue"`` (a view and a memory's rows of other content, where the method has a memory).
        counts: 64 counts; bin ``i`` holds the cosines from ``-1 + i/32`` up to ``-1 + (i+1)/32``.
    """

    step: int
    epoch: int
    pair: str
    counts: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean score, from the bins' middles (exact to 1/64); NaN where nothing was counted."""
        total = sum(self.counts)
        return sum(n * (-1 + (2 * i + 1) / BINS) for i, n in enumerate(self.counts)) / total if total else float("nan")


class ScoreCounts:
    """Adds up an epoch's histograms.

    Args:
        counts: ``{"positive": [64 numbers], "negative": [64 numbers], …}`` to go on from, or None.
    """

    def __init__(self, counts: dict[str, list[int]] | None = None) -> None:
        counts = counts or {}
        self.counts = {kind: torch.tensor(counts.get(kind, [0] * BINS), dtype=torch.int64) for kind in KINDS}

    def add(self, pair: str, scores: Tensor) -> None:
        """Count ``scores``, cosines of any shape; those that are not finite are left out."""
        scores = scores.flatten()
        bins = ((scores[torch.isfinite(scores)] + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)
        self.counts[pair] += torch.bincount(bins, minlength=BINS).cpu()

    def as_lists(self) -> dict[str, list[int]]:
        """Plain lists, for a checkpoint."""
        return {pair: counts.tolist() for pair, counts in self.counts.items()}

    def write(self, run: Path, step: int, epoch: int) -> None:
        """Append this epoch's rows, unless ``scores.csv`` has them already or nothing was counted.

        Raises:
            TrainingError: the disk does not take them.
        """
        path = run / SCORES
        _tables.mend(path)
        known = {(row[0], row[2]) for row in _tables.read(path, HEADER)} if path.exists() else set()
        rows: list[Sequence[object]] = [
            (step, epoch, pair, *counts)
            for pair, counts in self.as_lists().items()
            if any(counts) and (str(step), pair) not in known
        ]
        _tables.append(path, HEADER, rows)


def read_scores(run: str | Path) -> list[Histogram]:
    """The histograms of a run, oldest first; none where it has no ``scores.csv`` (an epoch has not ended yet).

    Raises:
        RunError: there is no such run directory, or a line is not one of ours.
    """
    run = Path(run)
    if not run.is_dir():
        raise RunError(message("run", f"no directory {run}", "a run directory", "See `counterpoint pretrain --out`."))
    path = run / SCORES
    histograms = []
    for number, row in enumerate(_tables.read(path, HEADER) if path.exists() else (), start=2):
        if row[2] not in KINDS or not all(value.isdecimal() for value in (row[1], *row[3:])):
            raise _tables.foreign(path, number, row, HEADER)
        histograms.append(Histogram(int(row[0]), int(row[1]), row[2], tuple(map(int, row[3:]))))
    return histograms
