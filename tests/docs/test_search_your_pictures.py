"""The how-to on image search: every command runs, in the page's order, on a small folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import snippets

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "search-your-pictures.md"
INSTALL = "pip install 'counterpoint-apps[image-search]'"


def test_every_command_runs(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(40):
        (tmp_path / "photos").mkdir(exist_ok=True)
        pixels = draw.integers(0, 128, (40, 48, 3)) + (number % 2) * 100
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / f"{number or 'cat'}.png")
    shorten = {"--epochs 20": "--epochs 1 --tensorboard false", INSTALL: f"test -f {ROOT}/apps/pyproject.toml"}
    printed = "".join(text for _, text in snippets.run(PAGE, tmp_path, shorten=shorten))
    assert "40 new" in printed and "cat.png" in printed
    assert len((tmp_path / "neighbours.csv").read_text().splitlines()) == 1 + 40 * 3
    assert (tmp_path / "neighbours.png").stat().st_size > 5_000
    assert (tmp_path / "duplicates.csv").read_text().startswith("group,score,path")
