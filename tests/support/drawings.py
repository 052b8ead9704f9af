"""Emoji in several drawing styles, as a table for pretraining and as raw images by class: what prompts are tried on."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from counterpoint.files import atomic
from counterpoint.parts import data_home

SEEN, SHIFTED = ("openmoji", "noto"), ("twemoji",)
LEFT_OUT = ("Flags", "Component")


class Drawings:
    """Emoji without flags; concepts (all drawings of one emoji) are in train (65 %), val (15 %) or test (20 %).

    Args:
        file: what the packed file of emoji-styles holds, or something of its kind.
        count: how many classes: the subcategories with most emoji.
    """

    def __init__(self, file: dict[str, np.ndarray], count: int) -> None:
        self._file = file
        self._rows = np.flatnonzero(~np.isin(file["category"], LEFT_OUT)).tolist()
        self._parts = [_part(str(point)) for point in file["codepoint"]]
        self._kinds = [str(kind) for kind in file["subcategory"]]
        largest = Counter(self._kinds[row] for row in self._rows).most_common(count)
        self._classes = sorted(name for name, _ in largest)

    @property
    def names(self) -> list[str]:
        """Words of each class."""
        return [_words(name) for name in self._classes]

    def table(self, folder: Path) -> Path:
        """Images of the seen styles and ``pairs.csv``: name, keywords, and the class with the name as captions."""
        place = folder / "pairs.csv"
        if place.is_file():
            return place
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(place) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["image", "caption", "caption_2", "caption_3", "split"])
            for style in SEEN:
                for row in self._rows:
                    image = folder / f"{style}-{self._file['codepoint'][row]}.webp"
                    image.write_bytes(self._raw(style, row))
                    writer.writerow([image.name, *self._captions(row), self._parts[row]])
        return place

    def _captions(self, row: int) -> list[str]:
        name, keywords = str(self._file["name"][row]), str(self._file["keywords"][row])
        return [name, keywords.replace("|", " "), f"{_words(self._kinds[row])}: {name}"]

    def images(self, split: str, styles: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """uint8 ``(N, 3, 64, 64)`` of the classes' concepts of ``split``, style after style, and their classes."""
        rows = [row for row in self._rows if self._parts[row] == split and self._kinds[row] in self._classes]
        labels = torch.tensor([self._classes.index(self._kinds[row]) for row in rows])
        drawn = [_decoded(self._raw(style, row)) for style in styles for row in rows]
        return torch.stack(drawn), labels.repeat(len(styles))

    def _raw(self, style: str, row: int) -> bytes:
        packed, cuts = self._file[f"{style}_webp"], self._file[f"{style}_offset"]
        return packed[cuts[row] : cuts[row + 1]].tobytes()


class Emoji(Drawings):
    """The set in the data home."""

    def __init__(self, count: int) -> None:
        with np.load(data_home() / "multimodal" / "emoji-styles" / "emoji_styles.npz", allow_pickle=False) as file:
            super().__init__({name: file[name] for name in file.files}, count)


class Squares(Drawings):
    """Squares of four colours, in its form: for smoke runs, which have no data home."""

    def __init__(self) -> None:
        colours = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "grey": (120, 120, 120)}
        kinds = [name for name in colours for _ in range(40)]
        points = np.array([str(number) for number in range(len(kinds))])
        file = {"codepoint": points, "name": np.array([f"{kind} square" for kind in kinds])}
        file |= {"keywords": np.array([f"{kind}|square" for kind in kinds]), "category": points}
        file["subcategory"] = np.array(kinds)
        for seed, style in enumerate((*SEEN, *SHIFTED)):
            noise = np.random.default_rng(seed)
            drawn = [_encoded(colours[kind], noise) for kind in kinds]
            file[f"{style}_webp"] = np.frombuffer(b"".join(drawn), dtype=np.uint8)
            file[f"{style}_offset"] = np.cumsum([0, *map(len, drawn)])
        super().__init__(file, len(colours))


def _encoded(colour: tuple[int, int, int], noise: np.random.Generator) -> bytes:
    shades = np.clip(np.array(colour) + noise.integers(-20, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "WEBP", lossless=True)
    return file.getvalue()


def _words(subcategory: str) -> str:
    return subcategory.replace("-", " ").replace("&", "and")


def _part(point: str) -> str:
    draw = int.from_bytes(hashlib.blake2b(point.encode(), digest_size=4).digest(), "little") % 100
    return "test" if draw < 20 else "val" if draw < 35 else "train"


def _decoded(raw: bytes) -> Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(raw)).convert("RGB"))).permute(2, 0, 1).contiguous()
