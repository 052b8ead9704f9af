"""Grey photographs with a code that every view keeps: an easy feature beside the class.

The photograph is the first channel; the other two are constant, one of eight pairs of levels drawn at random, so that
to look at it is a tint. It says nothing of the class and no view touches it, so that telling samples apart by it is
what an encoder learns first. (Two constant channels and not a painted background: that would make the class harder to
see as well.)
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from counterpoint.files import atomic
from counterpoint.parts import SPLITS
from counterpoint_vision.data import ImageArrays

TINTS = ("red", "brown", "olive", "green", "magenta", "violet", "blue", "cyan")
LEVELS = np.array([(green, blue) for blue in (0, 255) for green in (0, 85, 170, 255)], dtype=np.uint8)
"""Second and third channel of each tint."""
SOURCE = "cifar10-small"
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
PLAIN = 128


def archives(folder: Path) -> dict[str, Path]:
    """``coded`` and ``plain`` (all of one code): archives of images, labels, and ``codes`` ``(N,)``; made once."""
    places = {name: folder / f"{name}.npz" for name in ("coded", "plain")}
    if not all(path.is_file() for path in places.values()):
        data, codes = _source()
        splits = data.splits()
        for name, path in places.items():
            arrays = {
                "class_names": np.array(data.classes),
                "codes": np.concatenate([codes[splits[s]] for s in SPLITS]),
            }
            for split in SPLITS:
                rows = splits[split]
                arrays[f"{split}_images"] = _images(data, rows, codes[rows] if name == "coded" else None)
                arrays[f"{split}_labels"] = np.asarray(data.labels)[rows]
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)
    return places


def captions(folder: Path) -> Path:
    """The coded photographs with captions that name class and tint, as a table; made once."""
    place = folder / "captions.csv"
    if place.is_file():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    data, codes = _source()
    assert data.classes is not None and data.labels is not None
    with atomic(place) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "caption", "label", "tint", "split"])
        for split, rows in data.splits().items():
            for row, image in zip(rows, _images(data, rows, codes[rows])):
                name, tint, label = f"{row:05d}.png", TINTS[codes[row]], data.classes[data.labels[row]]
                Image.fromarray(image).save(folder / name)
                writer.writerow([name, f"{label} in {tint}", label, tint, split])
    return place


def _source() -> tuple[ImageArrays, np.ndarray]:
    """The photographs, and the code of each."""
    data = ImageArrays(SOURCE)
    return data, np.random.default_rng(0).integers(0, len(TINTS), len(data))


def _images(data: ImageArrays, rows: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
    """``(N, H, W, 3)`` uint8: grey, then the code's two levels."""
    grey = data.batch(rows.tolist()).data["image"].permute(0, 2, 3, 1).numpy().astype(np.float32) @ LUMA
    images = np.full((*grey.shape, 3), PLAIN, dtype=np.uint8)
    images[..., 0] = grey.round().clip(0, 255)
    if codes is not None:
        images[..., 1:] = LEVELS[codes][:, None, None]
    return images
