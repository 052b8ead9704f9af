"""Images that fit into memory: decoded once, handed out as slices."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from counterpoint.parts import SPLITS, Dataset, content_id
from counterpoint.sources.columns import target_of
from counterpoint.types import Batch, Damaged, Sample


@dataclass
class Pixels:
    """All images of a set.

    Attributes:
        images: ``(N, 3, H, W)`` uint8, or a list of ``(3, H, W)`` where sizes differ.
        damaged: number of an image that could not be decoded -> why; its pixels are zeros.
    """

    images: Tensor | list[Tensor]
    damaged: dict[int, str] = field(default_factory=dict)


class ImageMemory(Dataset):
    """Base of the sets that live in memory; the pixels are made when the first sample is asked for.

    A subclass sets ``labels``, ``classes``, ``targets`` and ``parts`` in its constructor and writes `_pixels`.

    Attributes:
        parts: ``(N,)`` number of each sample's official split (0 train, 1 val, 2 test), or None.
    """

    parts: np.ndarray | None = None
    in_memory = True

    @abstractmethod
    def _pixels(self) -> Pixels:
        """Decode or read all images."""

    @cached_property
    def pixels(self) -> Pixels:
        """All images, made at the first use."""
        return self._pixels()

    @cached_property
    def content(self) -> Tensor:
        """``(N,)`` content ids, from size and pixels."""
        images = self.pixels.images
        rows = (image.numpy() for image in images)
        ids = [content_id(repr(row.shape).encode() + row.tobytes()) for row in rows]
        return torch.tensor(ids, dtype=torch.int64)

    def __getitem__(self, index: int) -> Sample | Damaged:
        """Sample with ``image``: uint8 ``(3, H, W)``."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if index in self.pixels.damaged:
            return Damaged(index, self.name(index), self.pixels.damaged[index])
        label = None if self.labels is None or self.labels[index] < 0 else int(self.labels[index])
        target = target_of(self.targets, index)
        return Sample(index, {"image": self.pixels.images[index]}, label, int(self.content[index]), target)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at ``indices`` by slicing, without an object for each where sizes are equal."""
        images = self.pixels.images
        if self.pixels.damaged or not isinstance(images, Tensor):
            return super().batch(indices)
        index = torch.as_tensor(indices, dtype=torch.int64)
        label = None if self.labels is None else torch.from_numpy(self.labels[index.numpy()])
        target = None if self.targets is None else self.targets[index]
        return Batch({"image": images[index]}, index, self.content[index], label, target)

    def name(self, index: int) -> str:
        """Split and running number where splits are official, else the number."""
        return f"{index:06d}" if self.parts is None else f"{SPLITS[self.parts[index]]}/{index:06d}"

    def digest(self) -> str:
        """From all pixels, labels and targets."""
        state = hashlib.blake2b(self.content.numpy().tobytes(), digest_size=16)
        if self.labels is not None:
            state.update(self.labels.tobytes())
        if self.targets is not None:
            state.update(self.targets.numpy().tobytes())
        return state.hexdigest()

    def splits(self) -> dict[str, np.ndarray]:
        """The official parts; one that is missing is drawn from train by *content*, so that copies stay together."""
        part = np.zeros(len(self), dtype=np.int64) if self.parts is None else self.parts.copy()
        draw = self.content.numpy() % 100
        share = 10 if self.labels is not None else 5
        free = part == 0
        for number, low in ((2, 0), (1, share)):
            if not (part == number).any():
                part[free & (draw >= low) & (draw < low + share)] = number
        return {split: np.flatnonzero(part == number) for number, split in enumerate(SPLITS)}
