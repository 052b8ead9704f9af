"""The demo takes what is at hand, and always finds something."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.errors import DataError
from counterpoint_vision.data import demo

pytestmark = pytest.mark.unit


def test_without_data_and_connection_the_photographs_serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))

    def no_connection(*_: object) -> None:
        raise DataError("no connection")

    monkeypatch.setattr("counterpoint_vision.data.public.fetch", no_connection)
    name, reason = demo.choose()
    assert name == "photographs"
    assert "cifar10 is not in the data home" in reason


def test_what_is_in_the_data_home_comes_first(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (shared_data / "vision" / "cifar10-small").is_dir():
        pytest.skip("the data home has no cifar10-small")
    assert demo.main() == 0
    shown = capsys.readouterr()
    assert shown.out == "cifar10-small\n"
    assert "data home" in shown.err
