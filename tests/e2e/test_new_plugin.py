"""A newcomer's path: one command writes a package that installs, is listed, type-checks, conforms and trains."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import environments

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command in a folder with the new package ``counterpoint-weather``, which is installed."""
    place = tmp_path_factory.mktemp("newcomer")
    python = environments.make(place / "venv")

    def command(*words: object, cwd: str = ".") -> subprocess.CompletedProcess[str]:
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **environments.PIP, "PATH": path}
        done = subprocess.run(
            list(map(str, words)), cwd=place / cwd, env=environment, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    told = command("counterpoint", "new-plugin", "weather").stdout
    assert re.findall(r"^  (.*)$", told, re.MULTILINE) == [
        "pip install -e counterpoint-weather",
        "counterpoint check weather",
        "counterpoint pretrain weather/simclr",
    ]
    command("pip", "install", "-e", "counterpoint-weather")
    return command


def test_it_is_listed(run: Run) -> None:
    told = run("counterpoint", "plugins", "weather").stdout
    assert [line.split()[0] for line in told.splitlines()[2:]] == ["datasets", "views", "encoders", "tasks"]
    assert "weather/swav" in run("counterpoint", "recipes").stdout


def test_its_own_tests_pass_and_the_kit_is_among_them(run: Run) -> None:
    told = run("pytest", "-q", "-p", "no:cacheprovider", cwd="counterpoint-weather").stdout
    passed = re.search(r"^(\d+) passed", told, re.MULTILINE)
    assert passed is not None, told
    assert int(passed[1]) > 100
    assert "skipped" not in told


def test_its_types_are_strict(run: Run) -> None:
    words = ("-m", "mypy", "--cache-dir", ROOT / ".mypy_cache", "src", "tests")
    assert "Success" in run(sys.executable, *words, cwd="counterpoint-weather").stdout


def test_it_trains(run: Run) -> None:
    told = run("counterpoint", "pretrain", "weather/simclr", "--epochs", "2", "--tensorboard", "false").stdout
    assert "weather/simclr · 240 training samples of example" in told
    assert "Run: runs/weather-simclr" in told
