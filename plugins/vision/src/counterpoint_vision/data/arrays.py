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
_TARGETS = ("targets", "target", "values", "value", "y")
_PACKED = ("jpeg", "webp", "png")
_CLASSES = ("class_names", "classes", "label_names")


class ImageArrays(ImageMemory):
    """Images of an ``.npz`` archive, in memory.

    For each part (no prefix, or ``train``, ``val``, ``test`` before or after the name, as in ``train_images`` or
    ``x_train``) it looks for uint8 images ``(N, H, W)``, ``(N, H, W, 1|3|4)`` or ``(N, 3, H, W)`` called images,
    image, x or data, or for encoded files packed end to end: ``<part>_jpeg`` (or webp, png) with ``<part>_offset``
    ``(N + 1,)``.
    Labels ``(N,)`` are whole numbers called labels, label, y or targets; ``class_names`` names them.
    Targets ``(N,)`` for regression are called targets, target, values or y; those that are fractions are no labels, and
    NaN is unknown.
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
        self._arrays = {part: images for part, images in found.items() if images is not None}
        if not self._arrays:
            keys = ", ".join(sorted(arrays)) or "nothing"
            todo = "Name them images and labels, or train_images, train_labels, test_images ..."
            raise DataError(message("source", f"{self.place.name} with {keys}", "uint8 images", todo))
        counts = {part: len(images) for part, images in self._arrays.items()}
        self._length = sum(counts.values())
        if set(counts) != {""}:
            self.parts = np.repeat([max(0, SPLITS.index(p)) if p else 0 for p in counts], list(counts.values()))
        self.labels = _labels(arrays, counts)
        self.targets = _targets(arrays, counts)
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


def _part(arrays: Mapping[str, np.ndarray], part: str) -> Any:
    """Images of one part: an array ``(N, 3, H, W)`` or a list of encoded files, None if absent."""
    packed = _find(arrays, part, _PACKED)
    offset = _find(arrays, part, ("offset",))
    if packed is not None and offset is not None:
        return unpacked(arrays[packed], arrays[offset], offset)
    key = _find(arrays, part, _IMAGES)
    return None if key is None else _channels_first(arrays[key], key)


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


def _labels(arrays: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> np.ndarray | None:
    whole = {key: values for key, values in arrays.items() if not _fractional(key, values)}
    found = _column(whole, counts, _LABELS, np.integer, "labels", "whole numbers")
    return None if found is None else np.maximum(_joined(found, counts, -1, np.int64), -1)


def _targets(arrays: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> Tensor | None:
    found = _column(arrays, counts, _TARGETS, np.number, "targets", "numbers")
    return None if found is None else torch.from_numpy(_joined(found, counts, np.nan, np.float32))


def _fractional(key: str, values: np.ndarray) -> bool:
    """Whether it is a target that can be no label."""
    words = key.split("_")
    return any(name in words for name in _TARGETS) and np.issubdtype(values.dtype, np.floating)


def _column(
    arrays: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
    names: tuple[str, ...],
    kind: type[Any],
    told: str,
    wanted: str,
) -> dict[str, np.ndarray] | None:
    """Part -> its ``(N,)`` values of ``kind``; None where no part has any."""
    keys = {part: key for part in counts if (key := _find(arrays, part, names)) is not None}
    found = {part: arrays[key].reshape(-1) for part, key in keys.items()}
    for part, values in found.items():
        if len(values) != counts[part] or not np.issubdtype(values.dtype, kind):
            allowed = f"{counts[part]} {wanted}, one per image"
            raise DataError(message(f"{part or 'the'} {told}", f"{values.dtype} {values.shape}", allowed))
    return found or None


def _joined(found: Mapping[str, np.ndarray], counts: Mapping[str, int], unknown: float, dtype: type) -> np.ndarray:
    """All parts one after the other, ``unknown`` where a part has none."""
    return np.concatenate([found.get(part, np.full(count, unknown)).astype(dtype) for part, count in counts.items()])


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
