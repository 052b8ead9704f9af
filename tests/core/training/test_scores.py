"""Score histograms: the bins, the sums, the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from counterpoint.errors import RunError
from counterpoint.training.logs import MetricsLog
from counterpoint.training.scores import BINS, ScoreCounts, read_scores
from counterpoint.training.volatility import volatility

pytestmark = pytest.mark.unit


def test_counts_equal_numpys_histogram() -> None:
    scores = torch.rand(500, generator=torch.Generator().manual_seed(0)) * 2 - 1
    scores = torch.cat([scores, torch.tensor([-1.0, 1.0, 0.0])])
    counts = ScoreCounts()
    counts.add("positive", scores[:300])
    counts.add("positive", scores[300:].view(1, -1))
    expected = np.histogram(scores.numpy(), bins=BINS, range=(-1, 1))[0]
    assert counts.as_lists()["positive"] == expected.tolist()
    assert counts.as_lists()["negative"] == [0] * BINS


def test_rounding_beyond_one_and_nan() -> None:
    counts = ScoreCounts()
    counts.add("negative", torch.tensor([1.0000001, -1.0000001, float("nan"), float("inf")]))
    assert counts.as_lists()["negative"] == [1, *[0] * (BINS - 2), 1]


def test_file_reads_back_resumes_and_is_not_doubled(tmp_path: Path) -> None:
    counts = ScoreCounts()
    counts.add("positive", torch.full((10,), 0.5))
    resumed = ScoreCounts(counts.as_lists())
    resumed.add("negative", torch.zeros(7))
    resumed.write(tmp_path, step=12, epoch=0)
    resumed.write(tmp_path, step=12, epoch=0)
    with (tmp_path / "scores.csv").open("a") as file:
        file.write("24,1,posi")
    resumed.write(tmp_path, step=24, epoch=1)
    found = read_scores(tmp_path)
    assert [(h.step, h.epoch, h.pair, sum(h.counts)) for h in found] == [
        (12, 0, "positive", 10),
        (12, 0, "negative", 7),
        (24, 1, "positive", 10),
        (24, 1, "negative", 7),
    ]
    assert found[0].mean == pytest.approx(0.5, abs=1 / BINS)
    MetricsLog(tmp_path).rewind(12)
    assert [h.step for h in read_scores(tmp_path)] == [12, 12]


def test_volatility_is_the_root_mean_square_of_the_last_changes() -> None:
    points = [(20 * i, value) for i, value in enumerate([0.1, 0.4, 0.4, 0.2])]
    found = volatility(points, window=2)
    assert [step for step, _ in found] == [20, 40, 60]
    expected = [0.3, (0.09 / 2) ** 0.5, (0.04 / 2) ** 0.5]
    assert [value for _, value in found] == pytest.approx(expected)
    assert volatility([(n, 0.5) for n in range(4)])[-1] == (3, 0.0)
    assert volatility(points[:1]) == volatility([]) == []


def test_no_epoch_yet_and_no_run(tmp_path: Path) -> None:
    assert read_scores(tmp_path) == []
    ScoreCounts().write(tmp_path, 3, 0)
    assert read_scores(tmp_path) == []
    with pytest.raises(RunError, match=r"run: found no directory .*nowhere; allowed: a run directory"):
        read_scores(tmp_path / "nowhere")


def test_foreign_line_is_named(tmp_path: Path) -> None:
    ScoreCounts({"positive": [1] * BINS}).write(tmp_path, 3, 0)
    with (tmp_path / "scores.csv").open("a") as file:
        file.write("4,0,neutral" + ",1" * BINS + "\n")
    with pytest.raises(RunError, match=r"line 3 of .*scores\.csv is '4,0,neutral,.*\(67 columns\)"):
        read_scores(tmp_path)
