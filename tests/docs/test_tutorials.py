"""The tutorials, done as they are told: every command and snippet, in one folder, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import environments
import snippets

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"


def test_first_plugin(tmp_path: Path) -> None:
    page, place = TUTORIALS / "first-plugin.md", tmp_path / "place"
    place.mkdir()
    told = dict(
        snippets.run(
            page,
            place,
            python=environments.make(tmp_path / "venv"),
            shorten={"--epochs 60": "--epochs 2"},
            environment=environments.PIP,
        )
    )
    outputs = [output for block, output in told.items() if block.language in snippets.RUN and not block.title]
    assert "It conforms." in outputs[1]
    assert "Run: runs/code" in outputs[2]
    assert "untrained" in outputs[2]
    assert [line.endswith(".py") for line in outputs[3].splitlines()] == [True] * 5
    assert "accuracy[nearest mean]" in outputs[4]
    assert (place / "mine.parquet").is_file()
