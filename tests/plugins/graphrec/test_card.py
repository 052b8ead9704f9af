"""The card beside a saved encoder: for an encoder that knows its own data only, it shows nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import snippets
import tastes
from counterpoint.training.pretrain import pretrain

pytestmark = pytest.mark.unit


def test_what_the_card_shows_works(tmp_path: Path) -> None:
    tastes.table(tmp_path)
    small = {"max_steps": 2, "batch_size": 256, "encoder": {"dim": 8}, "tensorboard": False, "progress": False}
    run = pretrain("graphrec/lightgcn", data=str(tmp_path / "small.npz"), out=tmp_path / "run", report=False, **small)
    (block,) = snippets.blocks(run.path / "encoder" / "README.md", "python")
    script = tmp_path / "script.py"
    script.write_text(block.text.replace("path/to/run", str(run.path)))
    found = runpy.run_path(str(script))
    assert found["embeddings"].shape == (tastes.ITEMS, 8)
    assert "others" not in found
