"""Every command in the README runs, in the README's order, on a small folder of pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAST = ["--epochs", "1", "--tensorboard", "false"]


def blocks(language: str) -> list[str]:
    """Code blocks of the README."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Shell commands, comments cut off."""
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/: 40 small pictures in two classes."""
    place = tmp_path_factory.mktemp("readme")
    draw = np.random.default_rng(0)
    for number in range(40):
        folder = place / "photos" / ("light" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 128, (40, 48, 3)) + (number % 2) * 100
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return place


def run(words: list[str], place: Path) -> str:
    """Run a command in ``place``; its output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COUNTERPOINT_THREADS": "1"}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_there_are_commands_to_run() -> None:
    assert len(commands()) >= 14


def test_every_command_runs_in_order(workplace: Path) -> None:
    for command in commands():
        words = command.split()
        if words[0] == "counterpoint":
            fast = FAST if words[1] == "pretrain" and "--help" not in words and "--print_config" not in words else []
            assert run([sys.executable, "-m", "counterpoint.cli", *words[1:], *fast], workplace)
        elif words[0] == "make":
            assert run(["make", "--dry-run", *words[1:]], ROOT)
        else:
            assert words[:2] == ["pip", "install"], f"no way to test: {command}"
            flags = ["--dry-run", "--no-deps", "--no-build-isolation", "--quiet"]
            run([sys.executable, "-m", *words, *flags], ROOT)
    assert (workplace / "neighbours.png").stat().st_size > 1000
    assert (workplace / "photos.parquet").is_file()


def test_the_python_snippet_runs(workplace: Path) -> None:
    (snippet,) = blocks("python")
    shown = snippet.replace("epochs=20", "epochs=1")
    script = f"{shown}\nassert embeddings.shape[0] == 40\nassert (embeddings == same).all()\n"
    run([sys.executable, "-c", script], workplace)
