"""Training and measuring leave a report; what becomes of the report changes nothing of what was done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import counterpoint as cp
import eviltoy
import toy
from counterpoint import cli
from counterpoint.errors import ConfigError, RunError, TrainingError

pytestmark = pytest.mark.unit

SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 32, "tensorboard": False, "progress": False}
SMALL |= {"dataset": {"count": 200}, "encoder": {"width": 16}}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


def test_pretrain_leaves_a_report_and_evaluate_refreshes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = cp.pretrain("toy/simclr", out=tmp_path / "run", **SMALL)
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in capsys.readouterr().out
    before = (run.path / "report.html").read_text()
    assert "Measured by counterpoint evaluate" not in before
    cp.evaluate(run, split="val", quick=True)
    assert "Measured by counterpoint evaluate on the validation split" in (run.path / "report.html").read_text()


def test_no_report_where_none_is_wanted(tmp_path: Path) -> None:
    run = cp.pretrain("toy/simclr", out=tmp_path / "run", report=False, **SMALL)
    cp.evaluate(run, quick=True)
    assert not (run.path / "report.html").exists()
    assert cli.main(["report", str(run.path)]) == 0
    assert (run.path / "report.html").is_file()


def test_a_training_that_fails_fails_and_its_report_says_unfinished(tmp_path: Path) -> None:
    settings = {**SMALL, "dataset": {"count": 200, "poisoned": 3}, "monitor_steps": 1}
    with pytest.raises(TrainingError):
        cp.pretrain("toy/simclr", out=tmp_path / "run", **settings)
    text = (tmp_path / "run" / "report.html").read_text()
    assert "This run is not finished" in text
    assert "It was stopped: embeddings[0]: found NaN or infinity" in text
    assert "It has diverged." in text


def test_a_run_that_is_refused_gets_no_report(tmp_path: Path) -> None:
    run = cp.pretrain("toy/simclr", out=tmp_path / "run", report=True, **SMALL)
    (run.path / "report.html").write_text("old")
    with pytest.raises(RunError, match="holds a run already"):
        cp.pretrain("toy/simclr", out=tmp_path / "run", **SMALL)
    assert (run.path / "report.html").read_text() == "old"


def test_a_report_that_cannot_be_written_is_told_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from counterpoint.report import page

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(page, "write_text", full)
    run = cp.pretrain("toy/simclr", out=tmp_path / "run", **SMALL)
    assert (run.path / "run.json").is_file()
    assert "The report was not written; everything else is in" in capsys.readouterr().err


def test_a_bug_in_a_plugins_section_does_not_fail_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    eviltoy.install(monkeypatch, "broken")
    words = ["pretrain", "toy/simclr", "--data", "digits", "--dataset.count=200", "--epochs=1", "--batch_size=32"]
    assert cli.main([*words, "--tensorboard=false", "--progress=false", "--out", str(tmp_path / "run")]) == 0
    assert "A section of the report failed." in capsys.readouterr().err


def test_resume_is_given_alone() -> None:
    with pytest.raises(ConfigError, match="give it alone"):
        cp.pretrain("toy/simclr", resume="runs/x")
