"""A whole toy plugin: scikit-learn's 8 x 8 digits, noisy shifted views, a small network; installed in memory."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, DataError, ShapeError, message
from counterpoint.parts import Dataset, Encoder, Task, Views, content_id
from counterpoint.plugin import Found, Plugin
from counterpoint.sources.columns import target_of
from counterpoint.types import Batch, Damaged, Encoding, Sample, View
from toy_plugin import TOY


@functools.cache
def _table() -> Any:
    """scikit-learn's table, which takes long to unpack."""
    from sklearn.datasets import load_digits

    return load_digits()


class Digits(Dataset):
    """The digits: 1,797 images of 8 x 8.

    Args:
        source: "digits", or "dotted": every second one has a dot in the corner.
        count: how many of them.
        labelled: with labels or without.
        damaged: every n-th sample is damaged (0: none).
        poisoned: this sample holds NaN (-1: none).
        ordered: with the digit's value as the target; of every tenth it is unknown.
    """

    in_memory = True

    def __init__(
        self,
        source: str,
        count: int = 1797,
        labelled: bool = True,
        damaged: int = 0,
        poisoned: int = -1,
        ordered: bool = False,
    ) -> None:
        if not self.accepts(source):
            raise DataError(message("source", repr(source), "'digits', 'dotted'"))
        digits = _table()
        self.images = torch.tensor(digits.images[:count] / 16, dtype=torch.float32)
        if source == "dotted":
            self.images[1::2, 0, 0] = 1
        self.damaged, self.poisoned = damaged, poisoned
        if poisoned >= 0:
            self.images[poisoned] = float("nan")
        self.labels = digits.target[:count].astype(np.int64) if labelled else None
        self.classes = [str(c) for c in range(10)] if labelled else None
        if ordered:
            self.targets = torch.tensor(digits.target[:count], dtype=torch.float32)
            self.targets[::10] = float("nan")

    @classmethod
    def accepts(cls, source: str) -> bool:
        return source in ("digits", "dotted")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample | Damaged:
        if self.damaged and index % self.damaged == 0:
            return Damaged(index, self.name(index), "made so")
        image = self.images[index]
        label = None if self.labels is None else int(self.labels[index])
        return Sample(
            index, {"digit": image}, label, content_id(image.numpy().tobytes()), target_of(self.targets, index)
        )

    def name(self, index: int) -> str:
        return f"digit-{index}"

    def digest(self) -> str:
        return hashlib.sha256(self.images.numpy().tobytes()).hexdigest()


class NoisyShifts(Views):
    """Shift by a pixel, scale, add noise.

    Args:
        noise: standard deviation of the noise.
        views: how many.
        local: how many local views of 6 x 6 besides.
    """

    modalities = ("digit",)

    def __init__(self, noise: float = 0.2, views: int = 2, local: int = 0) -> None:
        self.noise, self.views, self.local = noise, views, local

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        images = _stack(batch)
        made = [View(self._one(images, generator), "digit") for _ in range(self.views)]
        return made + [View(self._one(images, generator)[:, 1:7, 1:7], "digit", "local") for _ in range(self.local)]

    def _one(self, images: Tensor, generator: torch.Generator) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1))
        dx, dy = torch.randint(0, 3, (2,), generator=generator).tolist()
        noise = self.noise * torch.randn(images.shape, generator=generator)
        return padded[:, dx : dx + 8, dy : dy + 8] + noise

    def plain(self, batch: Batch) -> list[View]:
        return [View(_stack(batch), "digit")]


class Mirrored(Views):
    """The image and its mirror image: views without chance, to compare one process with several."""

    modalities = ("digit",)

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        images = _stack(batch)
        return [View(images, "digit"), View(images.flip(2), "digit")]

    def plain(self, batch: Batch) -> list[View]:
        return [View(_stack(batch), "digit")]


def _stack(batch: Batch) -> Tensor:
    images = batch.data.get("digit")
    if images is None:
        raise DataError(message("batch.data['digit']", "nothing", "images (B, 8, 8)"))
    return torch.stack(images) if isinstance(images, list) else images


class DigitNet(Encoder):
    """Two convolutions and global pooling.

    Args:
        width: of the encoding.
        dropout: in front of it.
    """

    capabilities = frozenset({"tokens"})

    def __init__(self, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = width
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, width, 3, padding=1, stride=2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, view: View) -> Encoding:
        if not isinstance(view.data, Tensor):
            raise ShapeError(message("view.data", type(view.data).__name__, "float tensor (B, H, W)"))
        maps = self.conv2(self.conv1(view.data[:, None]).relu()).relu()
        tokens = self.dropout(maps).flatten(2).transpose(1, 2)
        return Encoding(tokens.mean(1), tokens)


class Nearest(Task):
    """The class whose mean is nearest."""

    def __init__(self) -> None:
        self.means: Tensor | None = None

    def fit(self, features: Tensor, labels: Tensor | None = None) -> Nearest:
        assert labels is not None
        self.means = torch.stack([features[labels == c].mean(0) for c in labels.unique()])
        return self

    def predict(self, features: Tensor) -> Tensor:
        if self.means is None:
            raise ConfigError(message("Nearest", "no means yet", "fit before predict"))
        return torch.cdist(features, self.means).argmin(1)

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        return {"accuracy[nearest mean]": float((self.predict(features) == labels).float().mean())}


def install(monkeypatch) -> Plugin:
    """Make the toy plugin the only one that discovery finds."""
    found = Found("toy", "counterpoint-toy", "0", plugin=TOY, entry="toy_plugin:TOY")
    monkeypatch.setattr(plugins, "discover", lambda: (found,))
    return TOY
