"""A small trained run of drawn shapes, and tables of them to index."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import counterpoint as cp
from counterpoint import apps
from counterpoint_multimodal.data.examples import toy

COUNT = 54


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the colours of `COUNT` drawings; their table, pairs.csv, is beside it."""
    place = tmp_path_factory.mktemp("pairs")
    settings = {
        "epochs": 60,
        "batch_size": 16,
        "select": None,
        "patience": None,
        "tensorboard": False,
        "progress": False,
    }
    cp.pretrain(
        "multimodal/clip",
        data=toy(place, COUNT)["source"],
        out=str(place / "run"),
        encoder={"dim": 16, "image_options": {"width": 8}, "text_width": 32, "text_layers": 1},
        optimization={"lr": 3e-3},
        **settings,
    )
    return place / "run"


@pytest.fixture
def catalogue(run: Path, tmp_path: Path) -> Path:
    """A copy of the run's table, with its pictures, to be changed."""
    shutil.copytree(run.parent / "images", tmp_path / "images")
    return Path(shutil.copy(run.parent / "pairs.csv", tmp_path / "pairs.csv"))


@pytest.fixture
def index(catalogue: Path, run: Path, tmp_path: Path) -> Path:
    """An index of `catalogue`."""
    made = tmp_path / "index"
    assert apps.main(["picture-search", "index", str(catalogue), "--run", str(run), "--index", str(made)]) == 0
    return made


@pytest.fixture
def app(index: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a verb on `index`; what it printed, to standard output and beside it."""

    def call(verb: str, *words: object, more: Sequence[str] = ()) -> str:
        capsys.readouterr()
        assert apps.main(["picture-search", verb, *map(str, words), "--index", str(index), *more]) == 0
        printed = capsys.readouterr()
        return printed.out + printed.err

    return call
