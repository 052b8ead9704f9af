"""One small trained run of the toy plugin, and copies of it to be spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import eviltoy
from counterpoint.report.page import write_report
from counterpoint.training.pretrain import pretrain


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    eviltoy.install(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        eviltoy.install(patch)
        out = tmp_path_factory.mktemp("report") / "run"
        pretrain("toy/simclr", out=out, epochs=3, batch_size=32, tensorboard=False, progress=False)
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the finished run, with a section of the plugin."""
    with pytest.MonkeyPatch.context() as patch:
        eviltoy.install(patch, "strokes")
        out = tmp_path_factory.mktemp("page") / "report.html"
        assert write_report(trained, out).failures == []
    return out
