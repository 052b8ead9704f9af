"""Several runs beside each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from counterpoint import cli
from counterpoint.report.compare import compare_runs

pytestmark = pytest.mark.unit


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """The same run with another temperature and seed."""
    other = tmp_path / "other"
    shutil.copytree(run, other)
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["seed"], config["out"] = 1, str(other)
    config["method"].setdefault("init_args", {})["temperature"] = 0.5
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    return other


def test_the_table_names_what_differs_and_nothing_else(
    run: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare_runs([run, other], console=Console(width=200))
    assert found.names == ["run", "other"]
    assert set(found.differing) == {"seed", "method.temperature"}
    assert found.settings["method.temperature"][1] == "0.5"
    assert found.warning == ""
    text = capsys.readouterr().out
    assert "≠ method.temperature" in text
    assert "verdict" in text
    assert "val knn[k=20,T=0.07]" in text


def test_what_was_measured_on_val_does_not_stand_in_the_monitors_place(run: Path, other: Path) -> None:
    knn = "knn[k=20,T=0.07]"
    online = compare_runs([run, other], console=Console(quiet=True)).rows[f"online val {knn}"]
    found = {"split": "val", "metrics": {"learnt": {knn: 0.123}}}
    (run / "evaluation-val.json").write_text(json.dumps(found))
    rows = compare_runs([run, other], console=Console(quiet=True)).rows
    assert rows[f"online val {knn}"] == online and "–" not in online
    assert rows[f"val {knn}"] == ["12.3%", "–"]


def test_what_chose_the_epoch_has_a_row_and_a_curve(run: Path, other: Path, tmp_path: Path) -> None:
    for path in (run, other):
        config = yaml.safe_load((path / "config.yaml").read_text())
        (path / "config.yaml").write_text(yaml.safe_dump({**config, "select": "mae"}))
        with (path / "metrics.csv").open("a") as file:
            file.write("0,0,untrained/mae,9.0\n1,0,val/mae,8.5\n2,1,val/mae,7.5\n")
    found = compare_runs([run, other], tmp_path / "c.html", Console(quiet=True))
    assert found.rows["online val mae"] == ["7.50", "7.50"]
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "<b>mae</b> <span>held-out samples; lower is better; dotted: the first run&#39;s encoder untrained" in page


def test_other_data_is_flagged(run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**facts, "digest": "0123456789abcdef0"}))
    assert cli.main(["compare", str(run), str(other), "--out", str(tmp_path / "c.html")]) == 0
    assert "Not comparable with run: other." in capsys.readouterr().out
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Not comparable with run: other." in page
    assert "other (other data)" in page


def test_the_page_has_everybodys_curves_and_marks_settings(run: Path, other: Path, tmp_path: Path) -> None:
    found = compare_runs([run, other, run], tmp_path / "c.html", Console(quiet=True))
    assert len(set(found.names)) == 3
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert page.count('<tr class="marked">') == 2
    assert page.count('class="line c3') >= 3


def test_an_unfinished_run_is_laid_beside_and_not_held_comparable(run: Path, other: Path) -> None:
    (other / "run.json").unlink()
    found = compare_runs([run, other], console=Console(quiet=True))
    assert found.rows["verdict"][1].endswith("(not finished)")
    assert found.foreign == ["other"]


def test_one_run_is_no_comparison(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(run)]) == 1
    assert "two or more" in capsys.readouterr().err
