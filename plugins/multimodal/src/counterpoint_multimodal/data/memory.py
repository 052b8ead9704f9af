"""Pairs that fit into memory: decoded once, handed out as slices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from counterpoint.parts import content_id
from counterpoint.types import Batch
from counterpoint_multimodal.data.captions import encode, pad
from counterpoint_multimodal.data.pairs import Pairs, Records


def picture_hashes(pictures: Sequence[bytes] | np.ndarray) -> list[bytes]:
    """16 bytes of each picture, equal for equal ones."""
    return [hashlib.blake2b(_bytes(picture), digest_size=16).digest() for picture in pictures]


class PairMemory(Pairs):
    """Pictures in memory; the pixels are made when the first sample is asked for."""

    in_memory = True

    def _hold(
        self, pictures: Sequence[bytes] | np.ndarray, records: Records, max_side: int | None, lower: bool
    ) -> None:
        """Take over the samples.

        Args:
            pictures: encoded files, or pixels uint8 ``(N, 3, H, W)``.
            records: the rest; its ``pictures`` are hashes of theirs.
            max_side: see the sources.
            lower: captions in small letters.
        """
        self._held = pictures
        self._fill(records, max_side, lower)

    def _raw(self, index: int) -> bytes:
        return _bytes(self._held[index])

    def _fingerprints(self) -> Iterator[bytes]:
        return (self._raw(index) for index in range(len(self)))

    def _picture(self, index: int) -> tuple[Tensor, int]:
        if index in self._damaged:
            raise ValueError(self._damaged[index])
        return self._pixels[index], int(self._contents[index])

    @cached_property
    def _decoded(self) -> tuple[Tensor | list[Tensor], dict[int, str]]:
        """Pixels of all pictures, stacked where they are of one size, and why some have none."""
        if isinstance(self._held, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(self._held)), {}
        images, damaged = [], {}
        for number, raw in enumerate(self._held):
            try:
                images.append(self._decode(raw, self.max_side))
            except ValueError as error:
                damaged[number] = str(error)
                images.append(torch.zeros(3, 1, 1, dtype=torch.uint8))
        alike = len({image.shape for image in images}) == 1
        return torch.stack(images) if alike else images, damaged

    @property
    def _pixels(self) -> Tensor | list[Tensor]:
        return self._decoded[0]

    @property
    def _damaged(self) -> dict[int, str]:
        return self._decoded[1]

    @cached_property
    def _contents(self) -> Tensor:
        """``(N,)`` content ids: the group's where a sample is not alone in it, else the picture's."""
        ids = [self._shared.get(index) or content_id(self._raw(index)) for index in range(len(self))]
        return torch.tensor(ids, dtype=torch.int64)

    @cached_property
    def _texts(self) -> list[Tensor]:
        return [encode(captions) for captions in self.captions]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at ``indices`` by slicing, without an object for each where all are sound and of one size."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        rows = index.tolist()
        pixels = self._pixels
        if self._damaged or not isinstance(pixels, Tensor) or not all(self.captions[row][0] for row in rows):
            return super().batch(rows)
        label = None if self.labels is None else torch.from_numpy(self.labels[index.numpy()])
        data: dict[str, Tensor | list[Tensor]] = {"image": pixels[index], "text": pad([self._texts[i] for i in rows])}
        return Batch(data, index, self._contents[index], label)


def _bytes(picture: bytes | np.ndarray) -> bytes:
    return picture if isinstance(picture, bytes) else repr(picture.shape).encode() + picture.tobytes()
