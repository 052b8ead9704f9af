"""Images in a numpy archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS, data_home
from counterpoint.sources.arrays import read, unpacked
from counterpoint_vision.data.decode import decode
from counterpoint_vision.data.memory import ImageMemory, Pixels
from counterpoint_vision.data.names import SMALL_CIFAR, unknown

_IMAGES = ("images", "image", "x", "data")
_LABELS = ("labels", "label", "y", "targets", "target")
_PACKED = ("jpeg", "webp", "png")
_CLASSES = ("class_names", "classes", "label_names")


class ImageArrays(ImageMemory):
    """Images of an ``.npz`` archive, in memory.

    For each part (no prefix, or ``train``, ``val``, ``test`` before or after the name, as in ``train_images`` or
    ``x_train``) it looks for uint8 images ``(N, H, W)``, ``(N, H, W, 1|3|4)`` or ``(N, 3, H, W)`` called images,
    image, x or data, or for encoded files packed end to end: ``<part>_jpeg`` (or webp, png) with ``<part>_offset``
    ``(N + 1,)``.
    Labels ``(N,)`` are called labels, label, y or targets; ``class_names`` names them.
    A part that the archive lacks is drawn from train by content. Pickled objects are refused.

    Args:
        source: the archive, or ``"cifar10-small"`` from the data home.

    Raises:
        DataError: no such archive, nothing in it that is known, or shapes that do not fit.
    """

    def __init__(self, source: str) -> None:
        self.place = _place(source)
        arrays = read(self.place)
        found = {part: _part(arrays, part) for part in ("", *SPLITS)}
        self._arrays = {part: images for part, (images, _) in found.items() if images is not None}
        if not self._arrays:
            keys = ", ".join(sorted(arrays)) or "nothing"
            todo = "Name them images and labels, or train_images, train_labels, test_images ..."
            raise DataError(message("source", f"{self.place.name} with {keys}", "uint8 images", todo))
        counts = {part: len(images) for part, images in self._arrays.items()}
        self._length = sum(counts.values())
        if set(counts) != {""}:
            self.parts = np.repeat([max(0, SPLITS.index(p)) if p else 0 for p in counts], list(counts.values()))
        self.labels = _labels({part: found[part][1] for part in counts}, counts)
        self.classes = _classes(arrays, self.labels)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is an ``.npz`` file or ``"cifar10-small"``."""
        place = Path(source).expanduser()
        return source == SMALL_CIFAR or (place.suffix.lower() == ".npz" and place.is_file())

    def __len__(self) -> int:
        return self._length

    def _pixels(self) -> Pixels:
        images: list[Tensor] = []
        damaged: dict[int, str] = {}
        for part in self._arrays.values():
            for image in part:
                pixels = _decoded(image)
                if isinstance(pixels, str):
                    damaged[len(images)] = pixels
                    pixels = torch.zeros(3, 1, 1, dtype=torch.uint8)
                images.append(pixels)
        self._arrays = {}  # the encoded copy is of no more use
        shape = next((image.shape for number, image in enumerate(images) if number not in damaged), images[0].shape)
        for number in damaged:
            images[number] = torch.zeros(shape, dtype=torch.uint8)
        alike = all(image.shape == shape for image in images)
        return Pixels(torch.stack(images) if alike else images, damaged)


def _decoded(image: np.ndarray | bytes) -> Tensor | str:
    """Pixels, or why there are none."""
    if isinstance(image, bytes):
        try:
            return decode(image)
        except ValueError as error:
            return str(error)
    return torch.from_numpy(np.ascontiguousarray(image))


def _place(source: str) -> Path:
    if source == SMALL_CIFAR:
        place = data_home() / "vision" / "cifar10-small" / "cifar10_small.npz"
        if not place.is_file():
            todo = "Set COUNTERPOINT_DATA to a folder that has it, or use 'photographs', which needs no file."
            raise DataError(message("source", f"no file {place}", "cifar10-small in the data home", todo))
        return place
    place = Path(source).expanduser()
    if place.suffix.lower() != ".npz":
        raise unknown(source)
    if not place.is_file():
        raise DataError(message("source", f"no file {source!r}", "an .npz archive"))
    return place


def _find(arrays: Mapping[str, np.ndarray], part: str, names: tuple[str, ...]) -> str | None:
    for name in names:
        for key in (f"{part}_{name}", f"{name}_{part}") if part else (name,):
            if key in arrays:
                return key
    return None


def _part(arrays: Mapping[str, np.ndarray], part: str) -> tuple[Any, np.ndarray | None]:
    """Images of one part (an array ``(N, 3, H, W)`` or a list of encoded files, None if absent) and its labels."""
    key = _find(arrays, part, _LABELS)
    labels = None if key is None else arrays[key]
    packed = _find(arrays, part, _PACKED)
    offset = _find(arrays, part, ("offset",))
    if packed is not None and offset is not None:
        return unpacked(arrays[packed], arrays[offset], offset), labels
    key = _find(arrays, part, _IMAGES)
    return (None if key is None else _channels_first(arrays[key], key)), labels


def _channels_first(images: np.ndarray, key: str) -> np.ndarray:
    """``(N, H, W[, C])`` or ``(N, 3, H, W)`` uint8 -> ``(N, 3, H, W)``; alpha is laid on white."""
    allowed = "uint8 (N, H, W), (N, H, W, 1), (N, H, W, 3), (N, H, W, 4) or (N, 3, H, W)"
    found = f"{images.dtype} {images.shape}"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(message(key, found, allowed))
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[-1] == 1:
        images = np.broadcast_to(images, (*images.shape[:3], 3))
    elif images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.uint16)
        images = ((images[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if images.shape[-1] == 3:
        return np.moveaxis(images, -1, 1)
    if images.shape[1] == 3:
        return images
    raise DataError(message(key, found, allowed))


def _labels(found: Mapping[str, np.ndarray | None], counts: Mapping[str, int]) -> np.ndarray | None:
    if all(labels is None for labels in found.values()):
        return None
    parts = []
    for part, labels in found.items():
        if labels is None:
            labels = np.full(counts[part], -1)
        labels = labels.reshape(-1)
        if len(labels) != counts[part] or not np.issubdtype(labels.dtype, np.integer):
            wanted = f"{counts[part]} whole numbers, one per image"
            raise DataError(message(f"{part or 'the'} labels", f"{labels.dtype} {labels.shape}", wanted))
        parts.append(labels.astype(np.int64))
    return np.maximum(np.concatenate(parts), -1)


def _classes(arrays: Mapping[str, np.ndarray], labels: np.ndarray | None) -> list[str] | None:
    if labels is None:
        return None
    key = next((key for key in _CLASSES if key in arrays), None)
    count = int(labels.max(initial=-1)) + 1
    if key is None:
        return [str(number) for number in range(count)]
    names = [str(name) for name in arrays[key].reshape(-1)]
    if len(names) < count:
        raise DataError(message(key, f"{len(names)} names", f"one for each of the {count} classes"))
    return names
