"""Small data for the conformance kit: what each dataset reads, written into an empty folder."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("dark", "light")
COUNT, SIZE = 24, 40


def _images() -> np.ndarray:
    """``(24, 40, 40, 3)`` uint8: noise, every second one lighter."""
    draw = np.random.default_rng(0)
    shift = np.arange(COUNT).reshape(-1, 1, 1, 1) % 2 * 100
    return (draw.integers(0, 128, (COUNT, SIZE, SIZE, 3)) + shift).astype(np.uint8)


def folder(place: Path) -> dict[str, Any]:
    """A folder of PNG files with a subfolder a class."""
    for number, pixels in enumerate(_images()):
        path = place / CLASSES[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return {"source": str(place)}


def table(place: Path) -> dict[str, Any]:
    """A CSV file with a column of paths and one of classes."""
    folder(place)
    path = place / "images.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([str(image.relative_to(place)), image.parent.name] for image in sorted(place.rglob("*.png")))
    return {"source": str(path)}


def arrays(place: Path) -> dict[str, Any]:
    """An archive of images and labels."""
    path = place / "images.npz"
    np.savez(path, images=_images(), labels=np.arange(COUNT) % 2)
    return {"source": str(path)}
