"""Every command and snippet in the README runs, in the README's order, on some pictures, captions and clicks."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import counterpoint as cp
import snippets
from pages import ROOT, captions, clicks, photos, shorter

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = ROOT / "README.md"


def test_every_block_runs_in_order(tmp_path: Path) -> None:
    photos(tmp_path)
    clicks(tmp_path)
    captions(tmp_path)
    ran = [block for block, _ in snippets.run(README, tmp_path, shorten=shorter(README))]
    languages = [block.language for block in ran]
    assert languages.count("bash") >= 4
    assert languages.count("python") >= 1
    assert not any(block.skip for block in ran), "everything in the README can be run"
    assert (tmp_path / "neighbours.png").stat().st_size > 1000
    assert (tmp_path / "runs" / "photos" / "report.html").is_file()
    assert len(pq.read_table(tmp_path / "recommendations.parquet")) == 10 * 40
    assert (tmp_path / "counterpoint-weather" / "pyproject.toml").is_file()
    assert (tmp_path / "photos.parquet").is_file()
    assert (tmp_path / "found.png").stat().st_size > 1000
    embeddings = cp.load(tmp_path / "runs" / "again").embed(tmp_path / "photos")
    assert embeddings.shape == (40, 128)
