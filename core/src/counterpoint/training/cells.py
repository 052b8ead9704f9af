"""Cells: a partition of the training samples such that each batch, and so every negative, comes from one part.

Inside a cell whatever put its samples together is nearly constant and cannot lower a contrastive loss, so that an
encoder must find something else. Cells come from clusterings (`refine`, `merge_small`), or from a table of one's own:
a Parquet file with the columns ``index`` (position in the dataset) and ``cell`` (-1: in no batch).

Source: feature-aware negative sampling, Zhang et al. 2024 (arXiv 2402.11816).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from lightning import Callback, LightningModule, Trainer

from counterpoint.errors import DataError, message
from counterpoint.files import atomic
from counterpoint.training.data import RunData, StepSampler

NONE = -1
"""The cell of a sample that is in no batch."""


def refine(cells: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The intersection of two partitions, ``(N,)`` numbers from 0 without gaps: equal only where both are equal.

    Args:
        cells: ``(N,)`` of the stage before; all equal before the first.
        clusters: ``(N,)`` of the newest clustering.
    """
    pairs = np.stack([cells, clusters], axis=1)
    numbers: np.ndarray = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return numbers


def merge_small(cells: np.ndarray, parents: np.ndarray, features: np.ndarray, least: int) -> np.ndarray:
    """Cells of fewer than ``least`` samples go, the smallest first, to the sibling with the nearest mean.

    Siblings are cells of one parent, so that what is merged still refines the parents. A parent of ``least`` samples or
    more is left without a small cell.

    Args:
        cells: ``(N,)``, a refinement of ``parents``.
        parents: ``(N,)``.
        features: ``(N, D)``, in which means are near or far.
        least: samples.

    Returns:
        ``(N,)`` numbers from 0 without gaps.
    """
    cells = cells.copy()
    for parent in np.unique(parents):
        inside = np.flatnonzero(parents == parent)
        while True:
            names, counts = np.unique(cells[inside], return_counts=True)
            smallest = int(counts.argmin())
            if len(names) == 1 or counts[smallest] >= least:
                break
            means = np.stack([features[inside[cells[inside] == name]].mean(axis=0) for name in names])
            distances = np.linalg.norm(means - means[smallest], axis=1)
            distances[smallest] = np.inf
            cells[inside[cells[inside] == names[smallest]]] = names[int(distances.argmin())]
    numbers: np.ndarray = np.unique(cells, return_inverse=True)[1].reshape(-1)
    return numbers


def write_cells(path: Path, index: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Write a table of cells, whole or not at all."""
    with atomic(path) as temporary:
        pq.write_table(pa.table({"index": index, **columns}), temporary)


def read_cells(path: Path, indices: np.ndarray) -> np.ndarray:
    """The cell of each of ``indices``: ``(N,)`` int64, -1 where the table says so, has a null or names no cell.

    Raises:
        DataError: it does not exist, is no Parquet table with the whole numbers ``index`` and ``cell``, names a sample
            twice, or holds none of the samples.
    """
    wanted = "a Parquet table with the columns index and cell, whole numbers"
    try:
        table = pq.read_table(path, columns=["index", "cell"])
        if not all(pa.types.is_integer(table[name].type) for name in ("index", "cell")):
            raise TypeError(", ".join(f"{name} is {table[name].type}" for name in ("index", "cell")))
        if table["index"].null_count:
            raise TypeError("index has nulls")
        index, cell = (pc.fill_null(table[name].cast(pa.int64()), NONE).to_numpy() for name in ("index", "cell"))
    except FileNotFoundError:
        raise DataError(message("cells", f"{path}, which does not exist", wanted)) from None
    except (OSError, TypeError, pa.ArrowException, KeyError) as error:
        raise DataError(message("cells", f"{path} ({str(error).splitlines()[0][:120]})", wanted)) from None
    if len(np.unique(index)) < len(index):
        raise DataError(message("cells", f"{path}, where samples have several rows", "one row a sample"))
    order = np.argsort(index)
    place = np.minimum(np.searchsorted(index, indices, sorter=order), max(0, len(index) - 1))
    found = np.full(len(indices), NONE, dtype=np.int64)
    if len(index):
        known = index[order[place]] == indices
        found[known] = cell[order[place]][known]
    if not (found > NONE).any():
        raise DataError(message("cells", f"{path}, which has none of the training samples", "their index and cell"))
    return found


def largest_cell(cells: np.ndarray) -> int:
    """Samples of the largest cell."""
    return int(np.unique(cells[cells > NONE], return_counts=True)[1].max())


class CellSampler(StepSampler):
    """Batches of one cell each, over all ranks; with one cell for all, `StepSampler` to the bit.

    In an epoch each cell is shuffled and cut into global batches, the uneven rest dropped, and the cells take turns, a
    batch each, until they run out: ``sum over cells of floor(n_cell / (batch_size * ranks))`` steps. A cell of fewer
    samples than a global batch is never seen.

    Args:
        indices: positions in the dataset to draw from.
        batch_size: rows per rank.
        seed: together with the epoch it decides the order.
        cells: ``(N,)`` the cell of each of ``indices``; -1: never drawn.
        rank, ranks: this process and how many there are.
    """

    def __init__(
        self, indices: np.ndarray, batch_size: int, seed: int, *, cells: np.ndarray, rank: int = 0, ranks: int = 1
    ) -> None:
        super().__init__(indices, batch_size, seed, rank=rank, ranks=ranks)
        self.cells = [indices[cells == cell] for cell in np.unique(cells[cells > NONE])]

    def __len__(self) -> int:
        return sum(len(cell) // self.rows for cell in self.cells)

    def global_batches(self, generator: np.random.Generator) -> np.ndarray:
        """One epoch's batches over all ranks, ``(steps, batch_size * ranks)`` positions."""
        batches = [self.cut(generator.permutation(cell)) for cell in self.cells]
        turn = np.concatenate([np.arange(len(rows)) for rows in batches])
        order = np.argsort(turn, kind="stable")  # the first of each cell, then the second, …
        return np.concatenate(batches)[order]

    @property
    def coverage(self) -> float:
        """Share of the samples that are in a batch of an epoch."""
        return len(self) * self.rows / len(self.indices)

    @property
    def never(self) -> int:
        """Samples that are in no batch of any epoch: in a cell smaller than a global batch, or in none."""
        return len(self.indices) - sum(len(cell) for cell in self.cells if len(cell) >= self.rows)

    def __str__(self) -> str:
        """Cells and coverage, in a line."""
        sizes = [len(cell) for cell in self.cells]
        lost = f"; {self.never} samples never, as their cells have fewer than {self.rows}" if self.never else ""
        large = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{max(sizes)}"
        cells = f"one of {len(sizes)} cells" if len(sizes) > 1 else "one cell"
        return f"Each batch from {cells} of {large} samples; an epoch sees {self.coverage:.0%} of the samples{lost}"


class CellLog(Callback):
    """Logs ``data/cells`` and ``data/coverage`` (the share of the samples that an epoch sees) before the first step.

    Put it behind the `Monitor`, which rewinds the log when training begins.

    Args:
        data: of the training.
    """

    def __init__(self, data: RunData) -> None:
        self.data = data

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log, if training begins."""
        sampler = self.data.sampler(trainer.global_rank, trainer.world_size)
        if trainer.global_step == 0 and isinstance(sampler, CellSampler):
            values = {"data/cells": len(sampler.cells), "data/coverage": sampler.coverage, "epoch": 0}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=0)
