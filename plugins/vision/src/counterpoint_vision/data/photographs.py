"""The built-in real set: patches of sixteen photographs and textures that scikit-image carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import SPLITS
from counterpoint_vision.data.decode import decode
from counterpoint_vision.data.memory import ImageMemory, Pixels
from counterpoint_vision.data.names import PHOTOGRAPHS, unknown

FILES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "tissue": "ihc.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "text": "text.png",
}
_CUTS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}


class Photographs(ImageMemory):
    """Which photograph does this patch come from? Real pictures with nothing to download.

    Training patches come from the left 60 % of each picture, val from the next 20 %, test from the right 20 %. No
    patch crosses a cut, so no pixel is in two parts. Places are a regular grid, so the set is always the same.

    Args:
        source: ``"photographs"``.
        size: side of the patches in pixels.
        color: keep the colours; without them the pictures differ less in tone and more in structure, which is the
            harder and the more telling task.
        train_patches: patches per picture in train; val and test have a fifth of that each.

    Raises:
        DataError: scikit-image or one of its pictures is missing.
        ConfigError: a size or number of patches that is too large or too small.
    """

    def __init__(
        self, source: str = PHOTOGRAPHS, size: int = 32, color: bool = False, train_patches: int = 800
    ) -> None:
        if source != PHOTOGRAPHS:
            raise unknown(source)
        if not 8 <= size <= 64:
            raise ConfigError(message("size", size, "8 to 64 pixels"))
        if train_patches < 5:
            raise ConfigError(message("train_patches", train_patches, "at least 5 per picture"))
        self.size, self.color = size, color
        self._counts = {"train": train_patches, "val": train_patches // 5, "test": train_patches // 5}
        self._folder = _folder()
        self.classes = list(FILES)
        per_picture = sum(self._counts.values())
        self.labels = np.repeat(np.arange(len(FILES), dtype=np.int64), per_picture)
        self.parts = np.tile(np.repeat(np.arange(3), list(self._counts.values())), len(FILES))

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is ``"photographs"``."""
        return source == PHOTOGRAPHS

    def __len__(self) -> int:
        return len(FILES) * sum(self._counts.values())

    def name(self, index: int) -> str:
        """Split, picture and running number."""
        per_picture = sum(self._counts.values())
        return f"{SPLITS[self.parts[index]]}/{self.classes[index // per_picture]}/{index % per_picture:04d}"  # type: ignore[index]

    def _pixels(self) -> Pixels:
        patches = []
        for file in FILES.values():
            picture = decode((self._folder / file).read_bytes())
            if not self.color:
                weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # ITU-R BT.601, as Pillow's grey
                picture = (picture * weights).sum(0).round().to(torch.uint8).expand(3, -1, -1)
            for split, count in self._counts.items():
                height, width = picture.shape[1:]
                for top, left in places(height, width, self.size, count, _CUTS[split]):
                    patches.append(picture[:, top : top + self.size, left : left + self.size])
        return Pixels(torch.stack(patches))


def places(height: int, width: int, size: int, count: int, strip: tuple[float, float]) -> list[tuple[int, int]]:
    """``count`` corners (top, left) of patches spread evenly over ``strip``, two shares of the width."""
    first, last = round(width * strip[0]), round(width * strip[1]) - size
    tall, wide = height - size, last - first
    columns = max(1, round((count * (wide + 1) / (tall + 1)) ** 0.5))
    rows = -(-count // columns)
    number = np.arange(count)
    lefts = first + np.rint((number % columns) * wide / max(columns - 1, 1)).astype(int)
    tops = np.rint((number // columns) * tall / max(rows - 1, 1)).astype(int)
    return list(zip(tops.tolist(), lefts.tolist()))


def _folder() -> Path:
    """Where scikit-image keeps its pictures; by path, since its own loader would try to download."""
    found = importlib.util.find_spec("skimage")
    todo = "pip install --force-reinstall scikit-image"
    if found is None or found.origin is None:
        raise DataError(message("photographs", "no scikit-image", "the package scikit-image", todo))
    folder = Path(found.origin).parent / "data"
    missing = [file for file in FILES.values() if not (folder / file).is_file()]
    if missing:
        raise DataError(message("photographs", f"no {', '.join(missing)} in {folder}", "scikit-image's pictures", todo))
    return folder
