"""For the apps that search pictures: a small trained run of images, and folders of pictures to index."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import counterpoint as cp

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of 60 plain pictures in three colours; the folder is beside it."""
    place = tmp_path_factory.mktemp("search")
    draw = np.random.default_rng(0)
    for number in range(60):
        folder = place / "photos" / COLOURS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 60, (32, 32, 3))
        pixels[..., number % 3] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    cp.pretrain(
        "vision/simclr", data=place / "photos", out=str(place / "run"), epochs=1, batch_size=16, tensorboard=False
    )
    return place / "run"


@pytest.fixture
def photos(run: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder, to be changed."""
    copy = tmp_path / "photos"
    shutil.copytree(run.parent / "photos", copy)
    return copy


@pytest.fixture
def index(run: Path, photos: Path, tmp_path: Path) -> Path:
    """An index of `photos`."""
    made = tmp_path / "index"
    update(photos, run, made)
    return made


def update(photos: Path, run: Path, index: Path, **options: object) -> object:
    """Bring ``index`` up to date; what was done."""
    from counterpoint_apps.image_search.encoder import ImageEncoder
    from counterpoint_apps.pictures.sources import Folder
    from counterpoint_apps.pictures.update import update as bring

    return bring(Folder.checked(photos), ImageEncoder.of_run(run), index, **options)  # type: ignore[arg-type]


@pytest.fixture(name="update")
def _update(run: Path, tmp_path: Path) -> Callable[..., object]:
    def bring(photos: Path, index: Path = tmp_path / "index", **options: object) -> object:
        return update(photos, run, index, **options)

    return bring


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A file system of 1 MB; the test is skipped, with the reason, where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m tmpfs {place} 2>/dev/null"):
        pytest.skip("a small file system cannot be mounted here: needs root")
    yield place  # type: ignore[misc]
    os.system(f"umount -l {place}")
