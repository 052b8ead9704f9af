"""Captions and views for the tests of the towers; saved checkpoints of random CLIP and SigLIP models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from counterpoint.parts import Dataset
from counterpoint.types import Sample, View
from counterpoint_multimodal.data.captions import encode, pad

CAPTIONS = [
    ["a red circle", "Circle in red"],
    ["a large blue square on a white sheet"],
    ["Straße in 東京 🎉"],
    ["green triangle"],
    ["a red square"],
]


class Captions(Dataset):
    """Samples with captions and no pictures; the last is of the test split."""

    def __init__(self, captions: Sequence[Sequence[str]] = CAPTIONS) -> None:
        self.captions = [list(one) for one in captions]

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Sample:
        return Sample(index, {"text": encode(self.captions[index])})

    def name(self, index: int) -> str:
        return str(index)

    def digest(self) -> str:
        return "captions"

    def splits(self) -> dict[str, np.ndarray]:
        last = len(self) - 1
        return {"train": np.arange(last), "val": np.arange(0), "test": np.array([last])}


@pytest.fixture(scope="session")
def captions() -> Captions:
    return Captions()


@pytest.fixture
def words():
    """Texts -> a text view, one caption a row."""

    def make(*texts: str, role: str = "global") -> View:
        return View({"text": pad([encode([text]) for text in texts])}, "text", role)

    return make


@pytest.fixture
def pictures():
    """Number -> an image view of so many random pictures."""

    def make(count: int, size: int = 16, role: str = "global") -> View:
        generator = torch.Generator().manual_seed(count)
        return View(torch.randn(count, 3, size, size, generator=generator), "image", role)

    return make
