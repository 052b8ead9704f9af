"""Tables and curves of recommendation: right where a file is, and said to be missing where none is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import generate
import measured
import ranked

pytestmark = pytest.mark.unit


def arm(recall: list[float], best: list[int]) -> dict[str, Any]:
    """One model's part of a claim's file: ten looks at val, every second epoch."""
    test = dict.fromkeys(ranked.MEASURES, recall)
    return {
        "command": "counterpoint pretrain graphrec/x --monitor_epochs 2 --patience 10",
        "chosen on val": {"--method.weight 0.05": 0.1, "--method.weight 0.2": 0.2},
        "test": test,
        "popularity": {"recall@20": [0.05, 0.07]},
        "epochs to best": best,
        "seconds": [10.0, 20.0],
        "curves": [[[50 * look, 0.01 * look + 0.1 * seed] for look in range(1, 11)] for seed in range(2)],
    }


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of results."""
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    (tmp_path / "claims").mkdir()
    return tmp_path


def write(results: Path, name: str, **parts: Any) -> None:
    (results / "claims" / f"graphrec-{name}.json").write_text(json.dumps(parts))


def test_nothing_is_made_up(results: Path) -> None:
    made = (ranked.ranking, ranked.gains, ranked.trials, ranked.commands_of, ranked.shown)
    assert {make("douban-book") for make in made} == {measured.ABSENT}
    assert ranked.films() == ranked.noise() == measured.ABSENT
    assert ranked.picture("douban-book") == ""


def test_rows_are_means_over_seeds_in_percent(results: Path) -> None:
    write(results, "douban-book", arms={"lightgcn": arm([0.10, 0.12], [18, 20]), "xsimgcl": arm([0.2, 0.2], [4, 6])})
    lines = ranked.ranking("douban-book").splitlines()
    assert lines[2].startswith("| LightGCN | 11.00 ± 1.41 |")
    assert lines[2].endswith("| 18 20 | 15 |")
    assert lines[3].startswith("| XSimGCL | 20.00 ± 0.00 |")
    assert lines[4].startswith("| popularity | 6.00 ± 1.41 |  |")
    assert "0.05: 10.00, **0.2: 20.00**" in ranked.trials("douban-book")
    assert ranked.gains("douban-book") == measured.ABSENT, "half of the models are measured"


def test_gains_are_points_with_their_interval(results: Path) -> None:
    gain = {"difference": {"mean": 0.012, "std": 0.001, "half": 0.003, "n": 3}, "p": 0.004}
    write(results, "amazon-beauty", arms={"xsimgcl": arm([0.2], [4])}, gains={"xsimgcl - sgl, ndcg@20": gain})
    told = ranked.gains("amazon-beauty")
    assert "| XSimGCL − SGL-ED | `ndcg@20` | +1.20 | +0.90 to +1.50 | 0.004 |" in told


def test_a_curve_a_seed_with_a_dot_at_the_best_epoch(results: Path) -> None:
    write(results, "douban-book", arms={"xsimgcl": arm([0.2, 0.2], [4, 20])})
    first, second = ranked.curves("douban-book")
    assert (first.name, second.name) == ("XSimGCL", "")
    assert first.points[0] == (2, pytest.approx(1.0))
    assert first.mark == (4, pytest.approx(2.0))
    assert second.mark == (20, pytest.approx(20.0))
    drawn = ElementTree.fromstring(ranked.picture("douban-book"))
    names = [part.tag.rpartition("}")[2] for part in drawn]
    assert (names.count("polyline"), names.count("circle")) == (2, 3)
    assert "graphrec-douban-book.svg" in ranked.shown("douban-book")


def test_a_stale_picture_is_noticed_written_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, drawn = tmp_path / "a.svg", ["<svg/>"]
    monkeypatch.setattr(generate, "PICTURES", {path: lambda: drawn[0]})
    monkeypatch.setattr(generate, "pages", list)
    assert generate.stale() == [path]
    generate.write(path)
    assert path.read_text() == "<svg/>"
    assert generate.stale() == []
    drawn[0] = ""
    generate.write(path)
    assert not path.exists()
    assert generate.stale() == []
