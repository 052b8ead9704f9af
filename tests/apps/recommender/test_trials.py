"""``fit`` without a method: a few settings are tried on val, the best is kept, and what is done is not done twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from counterpoint import apps
from counterpoint.errors import ConfigError, DataError, Interrupted, RunError
from counterpoint.run import Run
from counterpoint.training.logs import read_metrics
from counterpoint_apps.recommender import trials
from counterpoint_graphrec.data.examples import table

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SHORT = ["--epochs", "3", "--batch_size", "64", "--tensorboard", "false", "--progress", "false", "--report", "false"]


def fit(place: Path, *words: str) -> int:
    source = place / "interactions.csv"
    if not source.exists():
        table(place)
    return apps.main(["recommender", "fit", str(source), "--out", str(place / "shop"), *SHORT, *words])


def test_the_best_on_val_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path) == 0
    told, out = capsys.readouterr().out, tmp_path / "shop"
    assert "tried, on val" in told and all(name in told for name in trials.CANDIDATES)
    kept = json.loads((out / "tried.json").read_text())
    values = {name: found["recall@20 on val"] for name, found in kept["tried"].items()}
    assert values.keys() == trials.CANDIDATES.keys()
    assert kept["kept"] == max(values, key=lambda name: values[name])
    assert max(value for _, value in read_metrics(out)["val/recall@20"]) == max(values.values())
    assert Run(out).config["out"] == str(out) and (out / "evaluation-test.json").is_file()
    assert not (tmp_path / "shop-trials").exists()
    with pytest.raises(RunError, match="--overwrite"):
        fit(tmp_path)


def test_stopped_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    whole = trials.start_run

    def stopping(config: Any, **more: Any) -> Run:
        began.append(config.out)
        if len(began) == 2:
            raise Interrupted("Stopped at step 1")
        return whole(config, **more)

    monkeypatch.setattr(trials, "start_run", stopping)
    with pytest.raises(Interrupted, match="the same command goes on"):
        fit(tmp_path)
    assert fit(tmp_path) == 0
    assert [Path(out).name for out in began] == ["0", "1", "1", "2"]


def test_another_table_is_trained_anew_and_what_is_not_the_runs_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(tmp_path) == 0
    (tmp_path / "shop" / "mine.txt").write_text("kept", encoding="utf-8")
    began: list[str] = []
    whole = trials.start_run

    def stopping(config: Any, **more: Any) -> Run:
        began.append(Path(config.out).name)
        if len(began) == 2:
            raise Interrupted("Stopped at step 1")
        return whole(config, **more)

    monkeypatch.setattr(trials, "start_run", stopping)
    with pytest.raises(Interrupted):
        fit(tmp_path, "--overwrite")
    os.utime(tmp_path / "interactions.csv", ns=(1, 1))
    assert fit(tmp_path, "--overwrite") == 0
    assert began == ["0", "1", "0", "1", "2"]
    assert (tmp_path / "shop" / "mine.txt").read_text(encoding="utf-8") == "kept"
    assert not (tmp_path / "shop" / "report.html").exists(), "none was asked for"


def test_a_table_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("user,item\n", encoding="utf-8")
    with pytest.raises(DataError, match="only a header"):
        apps.main(["recommender", "fit", str(tmp_path / "empty.csv"), "--out", str(tmp_path / "shop"), *SHORT])
    assert [path.name for path in tmp_path.iterdir()] == ["empty.csv"]


def test_options_of_one_method_need_that_method(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--method.weight.*--method xsimgcl"):
        fit(tmp_path, "--method.weight=0.5")
    assert not (tmp_path / "shop").exists()
