"""``fit`` without a method: a few settings are tried on val, the best is kept, and what is done is not done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint import apps
from counterpoint.errors import ConfigError, Interrupted, RunError
from counterpoint.run import Run
from counterpoint.training.logs import read_metrics
from counterpoint_apps.recommender import trials
from counterpoint_graphrec.data.examples import table

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SHORT = ["--epochs", "3", "--batch_size", "64", "--tensorboard", "false", "--progress", "false", "--report", "false"]


def fit(place: Path, *words: str) -> int:
    source = table(place)["source"]
    return apps.main(["recommender", "fit", source, "--out", str(place / "shop"), *SHORT, *words])


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


def test_options_of_one_method_need_that_method(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--method.weight.*--method xsimgcl"):
        fit(tmp_path, "--method.weight=0.5")
    assert not (tmp_path / "shop").exists()
