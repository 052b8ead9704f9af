"""Every command and snippet in the README runs, in the README's order, on a small folder of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

import counterpoint as cp
import snippets
from pages import ROOT, photos, shorter

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = ROOT / "README.md"


def test_every_block_runs_in_order(tmp_path: Path) -> None:
    photos(tmp_path)
    ran = [block for block, _ in snippets.run(README, tmp_path, shorten=shorter(README))]
    languages = [block.language for block in ran]
    assert languages.count("bash") >= 4
    assert languages.count("python") >= 1
    assert not any(block.skip for block in ran), "everything in the README can be run"
    assert (tmp_path / "neighbours.png").stat().st_size > 1000
    assert (tmp_path / "runs" / "photos" / "report.html").is_file()
    assert (tmp_path / "counterpoint-weather" / "pyproject.toml").is_file()
    assert (tmp_path / "photos.parquet").is_file()
    embeddings = cp.load(tmp_path / "runs" / "again").embed(tmp_path / "photos")
    assert embeddings.shape == (40, 128)
