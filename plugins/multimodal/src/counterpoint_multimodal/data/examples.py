"""Small data for the conformance kit and the tests: drawn shapes and what they are, as each source has them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle")
COLOURS = {
    "red": (214, 40, 40),
    "green": (56, 142, 60),
    "blue": (30, 90, 200),
    "yellow": (250, 200, 30),
    "purple": (130, 50, 160),
    "black": (20, 20, 20),
}
SIZES = {"small": 0.18, "large": 0.36, "": 0.27}
"""Word -> half the shape's width, as a share of the picture's."""
COUNT, SIDE = 48, 40


@dataclass(frozen=True)
class Drawing:
    """One picture with its captions.

    Attributes:
        image: the picture, RGB.
        captions: one, or two for every third.
        shape: what is drawn, the class.
        split: train, val or test.
    """

    image: Image.Image
    captions: list[str]
    shape: str
    split: str


def drawings(count: int = COUNT, side: int = SIDE) -> Iterator[Drawing]:
    """The first ``count`` drawings: shapes by colours by sizes, each somewhere else; the last is called as the first.

    From the 55th on they are further pictures of the same captions.
    """
    draw = np.random.default_rng(0)
    splits = np.array(["train", "train", "train", "train", "val", "test"])[draw.permutation(count) % 6]
    for number in range(count):
        like = 0 if number == count - 1 else number  # one caption for two pictures
        shape, colour = SHAPES[like % 3], list(COLOURS)[like // 3 % 6]
        size = list(SIZES)[like // 18 % 3]
        captions = [" ".join(f"a {size} {colour} {shape}".split())]
        if number % 3 == 0:
            captions.append(f"{shape} in {colour}" + (f", {size}" if size else ""))
        image = _image(draw, shape, COLOURS[colour], SIZES[size], side)
        yield Drawing(image, captions, shape, str(splits[like % min(54, max(count - 1, 1))]))


def _image(draw: np.random.Generator, shape: str, colour: tuple[int, int, int], half: float, side: int) -> Image.Image:
    paper = int(draw.integers(215, 256))
    image = Image.new("RGB", (side, side), (paper, paper, paper))
    x, y = draw.uniform(half, 1 - half, 2) * side
    r, pen = half * side, ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    else:
        pen.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=colour)
    return image


def toy(place: Path, count: int = COUNT, side: int = SIDE) -> dict[str, Any]:
    """A CSV table of ``count`` drawings with captions, classes and official splits, for any test."""
    path = place / "pairs.csv"
    (place / "images").mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "label", "split"])
        for number, one in enumerate(drawings(count, side)):
            name = f"images/{number:03d}.png"
            one.image.save(place / name)
            captions = one.captions[0] if len(one.captions) == 1 else json.dumps(one.captions)
            writer.writerow([name, captions, one.shape, one.split])
    return {"source": str(path)}


def table(place: Path) -> dict[str, Any]:
    """A CSV table with a column of paths and one of captions, some of which are JSON lists."""
    return toy(place)


def folder(place: Path) -> dict[str, Any]:
    """A folder with a subfolder a class; captions are the files' names, or stand in a text file beside them."""
    for number, one in enumerate(drawings()):
        path = place / one.shape / f"{one.captions[0].replace(' ', '_')}-{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        one.image.save(path)
        if len(one.captions) > 1:
            path.with_suffix(".txt").write_text("\n".join(one.captions), encoding="utf-8")
    return {"source": str(place)}


def shards(place: Path) -> dict[str, Any]:
    """Two WebDataset shards: PNG files, captions in text files, classes in JSON files."""
    members = list(drawings())
    for shard in range(2):
        with tarfile.open(place / f"pairs-{shard}.tar", "w") as archive:
            for number, one in list(enumerate(members))[shard::2]:
                _add(archive, f"{number:04d}.png", _png(one.image))
                _add(archive, f"{number:04d}.txt", "\n".join(one.captions).encode())
                _add(archive, f"{number:04d}.json", json.dumps({"label": one.shape}).encode())
    return {"source": str(place / "pairs-{0..1}.tar")}


def arrays(place: Path) -> dict[str, Any]:
    """An archive of packed pictures, one or two texts each, and a class."""
    path = place / "pairs.npz"
    found = list(drawings())
    packed = [_png(one.image) for one in found]
    np.savez(
        path,
        image_png=np.frombuffer(b"".join(packed), dtype=np.uint8),
        image_offset=np.cumsum([0, *map(len, packed)]),
        text=np.array([[*one.captions, ""][:2] for one in found]),
        label=np.array([one.shape for one in found]),
        split=np.array([one.split for one in found]),
    )
    return {"source": str(path)}


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, raw: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(raw)
    archive.addfile(member, io.BytesIO(raw))
