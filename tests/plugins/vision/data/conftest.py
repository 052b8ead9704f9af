"""Tiny real image files, made by Pillow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture whose four quarters differ, so that turning and mirroring show, and which JPEG hardly changes."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    return smooth


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture below tmp_path, making its folders."""

    def write(path: str, image: Image.Image | None = None, **options: object) -> Path:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = smooth(12, 10, seed=hash_of(path)) if image is None else image
        picture.save(place, **options)
        return place

    return write


def hash_of(path: str) -> int:
    return sum(ord(letter) * (number + 1) for number, letter in enumerate(path))
