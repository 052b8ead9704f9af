"""The how-to on search by words: every command and snippet runs, in the page's order, on drawn shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

import snippets
from pages import captions

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "search-pictures.md"
SHORTEN = {
    "--epochs 20": "--epochs 2 --batch_size 16 --tensorboard false",
    "--shots 8": "--shots 4 --epochs 3",
    "pip install 'counterpoint-apps[picture-search]'": f"test -f {ROOT}/apps/pyproject.toml",
}


def test_every_command_runs(tmp_path: Path) -> None:
    captions(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "images" / f"{number:03d}.png").rename(tmp_path / "photos" / f"{number}.png")
    printed = "".join(text for _, text in snippets.run(PAGE, tmp_path, shorten=SHORTEN))
    assert "44 new, 0 unchanged, 4 damaged." in printed and "4 new, 0 unchanged, 0 damaged." in printed
    assert (tmp_path / "found.csv").read_text().startswith("query,rank,score,path,caption")
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 1 + 2 * 12
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 1 + 44 * 3
    assert "Learnt from 12 pictures of 3 classes (gopro, 3 epochs)." in printed
    assert len((tmp_path / "shapes.csv").read_text().splitlines()) == 1 + 4 * 3
    for sheet in ("found.png", "classes.png"):
        assert (tmp_path / sheet).stat().st_size > 5_000
