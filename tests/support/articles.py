"""Photos of fashion products made grey, on a background of one of eight colours: an easy feature beside the article.

The colour says nothing of the article and no augmentation touches it, so that telling samples apart by it is what an
encoder learns first.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from counterpoint.files import atomic
from counterpoint.parts import data_home

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 70, 220),
    "yellow": (225, 205, 50),
    "purple": (150, 60, 190),
    "cyan": (60, 195, 205),
    "orange": (240, 140, 40),
    "grey": (130, 130, 130),
}
SIDE = 32
CLASSES = 20
WHITE = (0.80, 0.95)
"""Of the studio's background: below the first it is the article, above the second the background."""


def archives(folder: Path) -> dict[str, Path]:
    """``painted`` and ``plain``: archives of images, labels (the article), and ``codes`` (the colour), made once."""
    places = {name: folder / f"{name}.npz" for name in ("painted", "plain")}
    if not all(path.is_file() for path in places.values()):
        grey, articles, parts = _read()
        labels, names = _classes(articles, parts)
        codes = _codes(len(grey))
        for name, path in places.items():
            images = painted(grey, codes) if name == "painted" else _three(grey)
            arrays = {"class_names": np.array(names), "codes": np.concatenate([codes[parts == p] for p in _PARTS])}
            for part in _PARTS:
                arrays |= {f"{part}_images": images[parts == part], f"{part}_labels": labels[parts == part]}
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)
    return places


def captions(folder: Path) -> Path:
    """The painted photos with captions that name article and colour, as a table; label: the article."""
    place = folder / "captions.csv"
    if place.is_file():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    grey, articles, parts = _read()
    codes = _codes(len(grey))
    _, names = _classes(articles, parts)
    with atomic(place) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "caption", "label", "colour", "split"])
        for row, image in enumerate(painted(grey, codes)):
            name, colour = f"{row:05d}.png", [*COLOURS][codes[row]]
            Image.fromarray(image).save(folder / name)
            label = articles[row] if articles[row] in names else ""
            split = "val" if parts[row] == "train" and row % 10 == 0 else parts[row]
            writer.writerow([name, f"{articles[row].lower()} on {colour}", label, colour, split])
    return place


def painted(grey: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """``(N, H, W)`` in [0, 1] -> uint8 ``(N, H, W, 3)``: what is white takes the colour ``codes`` ``(N,)``."""
    colour = np.array([*COLOURS.values()], dtype=np.float32)[codes][:, None, None]
    behind = np.clip((grey - WHITE[0]) / (WHITE[1] - WHITE[0]), 0, 1)[..., None]
    mixed: np.ndarray = (behind * colour + (1 - behind) * 255 * grey[..., None]).round().astype(np.uint8)
    return mixed


_PARTS = ("train", "test")


def _read() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey images ``(N, 32, 32)`` in [0, 1], articles and parts ``(N,)``."""
    place = data_home() / "multimodal" / "fashion-products" / "fashion_products.npz"
    with np.load(place, allow_pickle=False) as file:
        packed, cuts = file["image_jpeg"], file["image_offset"]
        images = [_grey(packed[a:b].tobytes()) for a, b in itertools.pairwise(cuts)]
        return np.stack(images), file["article_type"], file["split"]


def _grey(raw: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(raw)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32) / 255


def _three(grey: np.ndarray) -> np.ndarray:
    three: np.ndarray = np.repeat((255 * grey).round().astype(np.uint8)[..., None], 3, axis=-1)
    return three


def _codes(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, len(COLOURS), count)


def _classes(articles: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Labels ``(N,)`` of the articles with most photos in train, -1 for others, and their names."""
    names = sorted(name for name, _ in Counter(articles[parts == "train"].tolist()).most_common(CLASSES))
    return np.array([names.index(name) if name in names else -1 for name in articles.tolist()]), names
