"""The report and the comparison by command, as docs/how-to/read-the-report.md shows them, and its snippet."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import snippets
import toy
from counterpoint import plugin as plugins
from counterpoint.plugin import Found, Part
from counterpoint.report.page import write_report
from counterpoint.training.pretrain import pretrain
from pages import DOCS, photos

PAGE = DOCS / "how-to" / "read-the-report.md"
TRAIN = "pretrain vision/simclr --data photos --epochs 1 --batch-size 16 --tensorboard false --progress false --out"


def block(language: str) -> str:
    (found,) = snippets.blocks(PAGE, language)
    return found.text


def run(words: str, place: Path, code: int = 0) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COUNTERPOINT_THREADS": "1"}
    command = [sys.executable, "-m", "counterpoint.cli", *words.split()]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.slow
def test_every_command_of_the_page_runs_in_order(tmp_path: Path) -> None:
    photos(tmp_path)
    assert "Report: runs/photos/report.html" in run(f"{TRAIN} runs/photos", tmp_path)
    assert "Report:" not in run(f"{TRAIN} runs/again --seed 1 --report false", tmp_path)
    first = (tmp_path / "runs" / "photos" / "report.html").read_text(encoding="utf-8")
    commands = [line.split("#")[0].strip() for line in block("bash").splitlines()]
    assert len(commands) == 4
    for command in commands:
        run(command.removeprefix("counterpoint "), tmp_path)
    after = (tmp_path / "runs" / "photos" / "report.html").read_text(encoding="utf-8")
    assert "Measured by counterpoint evaluate on the test split" not in first
    assert "Measured by counterpoint evaluate on the test split" in after
    assert (tmp_path / "photos.html").is_file()
    assert "seed" in (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "is no run directory" in run("report photos", tmp_path, code=1)


@pytest.mark.unit
def test_the_section_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weather_report_snippet.py").write_text(block("python"))
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = {name: Part(f"weather_report_snippet:{name}", "") for name in ("thumbnail", "seasons")}
    plugin = replace(toy.TOY, thumbnail=parts["thumbnail"], report={"seasons": parts["seasons"]})
    monkeypatch.setattr(plugins, "discover", lambda: (Found("toy", "counterpoint-toy", "0", plugin=plugin),))
    options = {"dataset": {"count": 200}, "epochs": 1, "batch_size": 32, "tensorboard": False, "progress": False}
    report = write_report(pretrain("toy/simclr", out=tmp_path / "run", **options))
    text = report.path.read_text(encoding="utf-8")
    assert report.failures == []
    assert "Stations by season" in text
    assert '<span class="text">station ' in text
