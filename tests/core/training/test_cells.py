"""Cells and the batches that come from them: the card's laws, and one cell as the plain sampler."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from counterpoint.errors import DataError
from counterpoint.objectives import InfoNCE, NTXent
from counterpoint.training.cells import CellSampler, largest_cell, merge_small, read_cells, refine, write_cells
from counterpoint.training.data import StepSampler

pytestmark = pytest.mark.unit

INDICES = np.arange(100, 203)
CELLS = np.random.default_rng(0).choice(4, size=len(INDICES), p=[0.5, 0.3, 0.15, 0.05])
CELL_OF = dict(zip(INDICES.tolist(), CELLS.tolist()))


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_batch_is_of_one_cell_and_no_sample_comes_twice(ranks: int) -> None:
    samplers = [CellSampler(INDICES, 4, 7, cells=CELLS, rank=rank, ranks=ranks) for rank in range(ranks)]
    for epoch in range(3):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        steps = [*zip(*samplers)]
        assert len(steps) == len(samplers[0]) == sum(n // (4 * ranks) for n in Counter(CELLS.tolist()).values())
        for step in steps:  # what all ranks compare with each other
            together = [index for batch in step for index in batch]
            assert len(together) == 4 * ranks
            assert len({CELL_OF[index] for index in together}) == 1
        seen = [index for step in steps for batch in step for index in batch]
        assert len(seen) == len(set(seen))


def test_cells_take_turns_until_they_run_out() -> None:
    cells = np.array([0] * 9 + [1] * 3 + [2] * 6)
    sampler = CellSampler(np.arange(18), 3, 0, cells=cells)
    assert [int(cells[batch[0]]) for batch in sampler] == [0, 1, 2, 0, 2, 0]


@pytest.mark.parametrize(("batch", "ranks"), [(10, 1), (7, 3), (103, 1)])
def test_one_cell_for_all_is_the_plain_sampler_to_the_bit(batch: int, ranks: int) -> None:
    for rank in range(ranks):
        plain = StepSampler(INDICES, batch, 3, rank=rank, ranks=ranks, epoch=2, skip=1)
        one = CellSampler(INDICES, batch, 3, cells=np.full(len(INDICES), 5), rank=rank, ranks=ranks)
        one.epoch, one.skip = 2, 1
        assert len(one) == len(plain)
        assert [*one] == [*plain]
        assert [*one] == [*plain], "the next pass is whole again"


def test_a_resumed_epoch_goes_on_where_it_was() -> None:
    whole = [*CellSampler(INDICES, 4, 1, cells=CELLS)]
    rest = CellSampler(INDICES, 4, 1, cells=CELLS)
    rest.skip = 5
    assert [*rest] == whole[5:]
    assert [*CellSampler(INDICES, 4, 2, cells=CELLS)] != whole


def test_coverage_counts_what_is_dropped_and_what_is_never_seen() -> None:
    cells = np.array([0] * 10 + [1] * 5 + [2] * 3 + [-1] * 2)
    sampler = CellSampler(np.arange(20), 4, 0, cells=cells)
    assert (len(sampler), sampler.coverage, sampler.never) == (3, 12 / 20, 5)
    assert largest_cell(cells) == 10
    told = str(sampler)
    assert "one of 3 cells of 3 to 10 samples; an epoch sees 60% of the samples" in told
    assert "5 samples never" in told
    seen = {index for epoch in range(50) for index in _epoch(sampler, epoch)}
    assert seen == set(range(15)), "what is not never seen is seen at some time"


def _epoch(sampler: CellSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return [index for batch in sampler for index in batch]


def test_refinement_is_the_intersection_of_all_clusterings() -> None:
    draw = np.random.default_rng(1)
    labels = [draw.integers(0, 3, 500) for _ in range(3)]
    cells = [np.zeros(500, dtype=np.int64)]
    for found in labels:
        cells.append(refine(cells[-1], found))
    for number, (coarse, fine) in enumerate(itertools.pairwise(cells), start=1):
        assert all(len(set(coarse[fine == cell])) == 1 for cell in set(fine.tolist())), "equal there, equal here"
        assert sorted(set(fine.tolist())) == [*range(len(set(fine.tolist())))]
        assert len(set(fine.tolist())) <= 3**number
        codes = sum(one * 3 ** (number - 1 - t) for t, one in enumerate(labels[:number]))
        assert _same_partition(fine, codes), "the card's coding, numbered without gaps"


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len({*zip(a.tolist(), b.tolist())}) == len({*a.tolist()}) == len({*b.tolist()})


def test_latest_is_intersection_with_two_stages_and_another_with_three() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.integers(0, 4, 300), draw.integers(0, 4, 300)
    start = np.zeros(300, dtype=np.int64)
    assert _same_partition(refine(start, first), first)
    assert not _same_partition(refine(refine(start, first), second), refine(start, second))


def test_small_cells_go_to_their_nearest_sibling() -> None:
    features = np.array([[0.0]] * 5 + [[1.0]] * 2 + [[9.0]] * 5 + [[1.1]] * 5)
    cells = np.array([0] * 5 + [1] * 2 + [2] * 5 + [3] * 5)
    parents = np.array([0] * 12 + [1] * 5)
    merged = merge_small(cells, parents, features, 3)
    assert merged.tolist() == [0] * 7 + [1] * 5 + [2] * 5, "not to the nearer one of another parent"
    assert merge_small(cells, parents, features, 2).tolist() == cells.tolist()
    assert merge_small(cells, parents, features, 12).tolist() == [0] * 12 + [1] * 5


def test_a_parent_that_is_large_enough_is_left_without_a_small_cell() -> None:
    draw = np.random.default_rng(3)
    parents = np.repeat([0, 1], 60)
    merged = merge_small(refine(parents, draw.integers(0, 20, 120)), parents, draw.normal(size=(120, 2)), 16)
    assert min(Counter(merged.tolist()).values()) >= 16
    assert len(set(merged.tolist())) > 2
    assert all(len(set(parents[merged == cell])) == 1 for cell in set(merged.tolist()))


def test_a_table_of_cells_is_read_by_index(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    write_cells(path, np.array([9, 3, 5]), {"cell": np.array([1, 0, -1]), "cluster": np.array([0, 0, 0])})
    assert read_cells(path, np.array([3, 4, 5, 9, 100])).tolist() == [0, -1, -1, 1, -1]
    pq.write_table(pa.table({"index": [1, 2], "cell": [0, None]}), path)
    assert read_cells(path, np.array([1, 2])).tolist() == [0, -1]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"index": [1, 2]}, "cell"),
        ({"index": ["a", "b"], "cell": [0, 1]}, "whole numbers"),
        ({"index": [1, 2], "cell": [0.0, 1.0]}, "cell is double"),
        ({"index": [1, 2], "cell": [True, False]}, "cell is bool"),
        ({"index": [1, None], "cell": [0, 1]}, "index has nulls"),
        ({"index": [1, 1], "cell": [0, 1]}, "several rows"),
        ({"index": [50], "cell": [0]}, "none of the training samples"),
        ({"index": [1, 2], "cell": [-1, -1]}, "none of the training samples"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(columns: dict[str, list[object]], told: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=f"cells: found {path}.*{told}"):
        read_cells(path, np.array([1, 2]))


def test_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells.parquet").write_text("index,cell\n1,2\n")
    for name in ("cells.parquet", "nothing.parquet"):
        with pytest.raises(DataError, match="a Parquet table with the columns index and cell"):
            read_cells(tmp_path / name, np.array([1, 2]))
    with pytest.raises(DataError, match=r"nothing\.parquet, which does not exist"):
        read_cells(tmp_path / "nothing.parquet", np.array([1, 2]))


@pytest.mark.parametrize(("objective", "candidates"), [(NTXent, 2 * 16 - 1), (InfoNCE, 16)])
def test_what_is_constant_in_a_cell_cannot_lower_the_loss(objective: type, candidates: int) -> None:
    """The loss is log(candidates) exactly, whatever the temperature: its gradient is zero."""
    embedding = torch.randn(1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).expand(16, 8)
    losses = [float(objective(temperature)((embedding, embedding)).loss) for temperature in (0.05, 0.2, 1.0)]
    assert losses == pytest.approx([math.log(candidates)] * 3, abs=1e-12)


def test_nor_move_a_learnt_temperature() -> None:
    objective = InfoNCE(0.1, learnable_temperature=True)
    embedding = torch.ones(16, 8)
    objective((embedding, embedding)).loss.backward()
    (weight,) = objective.parameters()
    assert weight.grad is not None
    assert abs(float(weight.grad)) < 1e-5
