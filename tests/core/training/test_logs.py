"""The metrics log: exact values, torn lines, rewinding, and a killed process."""

from __future__ import annotations

import math
import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.errors import ConfigError, RunError, TrainingError
from counterpoint.training.logs import MetricsLog, read_metrics

pytestmark = pytest.mark.unit


def write(run: Path, steps: range, log: MetricsLog | None = None) -> MetricsLog:
    log = log or MetricsLog(run)
    for step in steps:
        log.log_metrics({"train/loss": 1.0 / step, "epoch": step // 4, "time/seconds": 0.1}, step)
        if step % 4 == 0:
            log.log_metrics({"val/knn[k=20,T=0.07]": step / 3.0, "epoch": step // 4}, step)
    return log


@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_values_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    run = tmp_path_factory.mktemp("run")
    MetricsLog(run).log_metrics({"a": value}, step=3)
    ((step, back),) = read_metrics(run)["a"]
    assert step == 3
    assert back == value or (math.isnan(back) and math.isnan(value))


def test_long_form_with_quoted_names_and_tensors(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "new" / "run")
    log.log_metrics({"val/knn[k=20,T=0.07]": torch.tensor(0.5), "epoch": 2}, step=7)
    log.log_metrics({"b": 1}, step=8)
    assert (
        log.run / "metrics.csv"
    ).read_text() == 'step,epoch,metric,value\n7,2,"val/knn[k=20,T=0.07]",0.5\n8,,b,1.0\n'
    assert read_metrics(log.run / "metrics.csv") == {"val/knn[k=20,T=0.07]": [(7, 0.5)], "b": [(8, 1.0)]}


def test_clock_values_go_to_their_own_file(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    assert "time/seconds" not in read_metrics(tmp_path)
    assert read_metrics(tmp_path / "timing.csv") == {"time/seconds": [(1, 0.1), (2, 0.1)]}


@pytest.mark.parametrize("lost", [1, 2, 5, 12])
def test_torn_last_line_is_dropped_on_reading_and_on_writing(tmp_path: Path, lost: int) -> None:
    write(tmp_path, range(1, 4))
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-lost])
    assert read_metrics(tmp_path)["train/loss"] == [(1, 1.0), (2, 0.5)]
    MetricsLog(tmp_path).log_metrics({"train/loss": 0.25}, step=4)
    assert read_metrics(tmp_path)["train/loss"] == [(1, 1.0), (2, 0.5), (4, 0.25)]


def test_torn_header_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,ep")
    MetricsLog(tmp_path).log_metrics({"a": 1.0}, step=0)
    assert (tmp_path / "metrics.csv").read_text().startswith("step,epoch,metric,value\n0,")


@pytest.mark.parametrize("killed_at", range(5, 13))
@pytest.mark.parametrize("checkpoint", [0, 3, 4])
def test_resumed_log_equals_an_undisturbed_one(tmp_path: Path, checkpoint: int, killed_at: int) -> None:
    write(tmp_path / "whole", range(1, 13))
    write(tmp_path / "resumed", range(1, killed_at))
    log = MetricsLog(tmp_path / "resumed")
    log.rewind(checkpoint)
    write(tmp_path / "resumed", range(checkpoint + 1, 13), log)
    for name in ("metrics.csv", "timing.csv"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "resumed").iterdir()) == ["metrics.csv", "timing.csv"]


def test_rows_of_the_checkpoints_own_step_are_not_doubled(tmp_path: Path) -> None:
    write(tmp_path, range(1, 5))
    before = (tmp_path / "metrics.csv").read_bytes()
    log = MetricsLog(tmp_path)
    log.rewind(4)
    write(tmp_path, range(4, 5), log)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_rewinding_everything_leaves_an_empty_log(tmp_path: Path) -> None:
    write(tmp_path, range(1, 5)).rewind(-1)
    assert read_metrics(tmp_path) == {}


def write_for_ever(run: Path, ready: Event) -> None:
    log = MetricsLog(run)
    for step in range(1, 10**9):
        log.log_metrics({"train/loss": 1.0 / step, "b": 2.0}, step)
        if step == 50:
            ready.set()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_a_killed_process_leaves_whole_lines(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    process = fork.Process(target=write_for_ever, args=(tmp_path, ready), daemon=True)
    process.start()
    assert ready.wait(timeout=60)
    process.kill()
    process.join()
    losses = read_metrics(tmp_path)["train/loss"]
    assert len(losses) >= 50
    assert losses == [(step, 1.0 / step) for step in range(1, len(losses) + 1)]


def test_missing_log_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run: found no metrics\.csv in .*; allowed: a run directory.*pretrain --out"):
        read_metrics(tmp_path)


def test_a_foreign_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,metric,value\n1,0,a,0.5\n1,0,a,half\n")
    with pytest.raises(RunError, match=r"line 3 of .*'1,0,a,half'; allowed: step,epoch,metric,value"):
        read_metrics(tmp_path)


def test_a_step_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"step: found None; allowed: the number of updates done"):
        MetricsLog(tmp_path).log_metrics({"a": 1.0})


def test_names_with_line_breaks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metric: found 'a\\nb'; allowed: a name without line breaks"):
        MetricsLog(tmp_path).log_metrics({"a\nb": 1.0}, step=1)


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the directory should be")
    with pytest.raises(TrainingError, match=r"metrics\.csv cannot be written .* allowed: a writable disk"):
        MetricsLog(tmp_path / "run").log_metrics({"a": 1.0}, step=1)
