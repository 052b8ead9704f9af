"""What all image views share: looking at the batch, running the augmentations, and the plain view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, DataError, ShapeError, message
from counterpoint.parts import Views
from counterpoint.types import Batch, View
from counterpoint_vision.views.colour import Pixels
from counterpoint_vision.views.crop import Interpolation, resize
from counterpoint_vision.views.engine import Normalise, Triple, augment
from counterpoint_vision.views.settings import Augmentation, draw

MODALITY = "image"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training images, for values in [0, 1]


class ImageViews(Views):
    """Views of images by a list of augmentations, one view each; the presets are thin subclasses.

    Takes ``batch.data["image"]``: uint8 ``(B, 3, H, W)``, or a list of uint8 ``(3, H_i, W_i)``.

    Args:
        augmentations: settings per view, those of role ``"global"`` first.
        mean: subtracted per channel, for values in [0, 1].
        std: divided by, per channel.
        channels_last: memory format of the views. Off, since converting in the encoder costs the same or less.
        plain_resize: shorter side before the centre crop of the plain view, over the first view's size; None: 256 / 224
            from 128 pixels on, 1 below.

    Raises:
        ConfigError: no augmentation, a local one before a global one, a std that is not positive, ``plain_resize < 1``.
    """

    modalities = (MODALITY,)

    def __init__(
        self,
        augmentations: Sequence[Augmentation],
        mean: Triple = MEAN,
        std: Triple = STD,
        channels_last: bool = False,
        plain_resize: float | None = None,
    ) -> None:
        roles = [a.role for a in augmentations]
        if not roles or roles != sorted(roles):
            raise ConfigError(message("augmentations", roles, "at least one, the global ones first"))
        if min(std) <= 0:
            raise ConfigError(message("std", std, "three positive numbers"))
        if plain_resize is not None and plain_resize < 1:
            raise ConfigError(message("plain_resize", plain_resize, "at least 1, or None"))
        self.augmentations = list(augmentations)
        self.mean, self.std = mean, std
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        size = self.augmentations[0].size
        self.plain_resize = plain_resize or (256 / 224 if size >= 128 else 1.0)

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        """One view per augmentation: float32 ``(B, 3, S, S)``, normalised."""
        images = images_of(batch)
        shapes = [i.shape[1:] for i in images] if isinstance(images, list) else [images.shape[2:]] * len(images)
        sizes = torch.tensor(shapes)
        normalise = Normalise.of(self.mean, self.std, images[0].device)
        views = []
        for settings in self.augmentations:
            out = torch.empty(len(images), 3, settings.size, settings.size, device=images[0].device)
            augment(images, draw(settings, sizes, generator), settings, normalise, out)
            views.append(View(out.contiguous(memory_format=self.format), MODALITY, settings.role))
        return views

    def plain(self, batch: Batch) -> list[View]:
        """One view: the shorter side resized to ``plain_resize * size``, then the centre ``size x size``.

        It is resized as the crops of the first view are.
        """
        images, first = images_of(batch), self.augmentations[0]
        size = first.size
        out = torch.empty(len(images), 3, size, size, device=images[0].device)
        normalise = Normalise.of(self.mean, self.std, out.device)
        short = round(self.plain_resize * size)
        for i, image in enumerate(images) if isinstance(images, list) else [(slice(None), images)]:
            normalise.into(out[i], Pixels(centre(image, short, size, first.interpolation).float()))
        return [View(out.contiguous(memory_format=self.format), MODALITY)]


def centre(images: Tensor, short: int, size: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Resize the shorter side of ``(..., 3, H, W)`` to ``short``, cut the centre ``size x size``, as torchvision."""
    height, width = images.shape[-2:]
    least = min(height, width)
    target = (int(short * height / least), int(short * width / least))
    whole = resize(images, (0, 0, height, width), target, interpolation)
    top, left = (round((side - size) / 2.0) for side in target)
    return whole[..., top : top + size, left : left + size]


def images_of(batch: Batch) -> Tensor | list[Tensor]:
    """The batch's images, checked.

    Raises:
        DataError: no images in the batch.
        ShapeError: not uint8, not three channels, or an empty image.
    """
    images = batch.data.get(MODALITY)
    if images is None or len(images) == 0:
        todo = "All records of this batch were damaged." if batch.damaged else "Use a dataset of images."
        raise DataError(message(f"batch.data[{MODALITY!r}]", "no image", "uint8 images", todo))
    for image in images if isinstance(images, list) else images[:1]:
        if image.dtype != torch.uint8:
            raise ShapeError(message(f"batch.data[{MODALITY!r}]", image.dtype, "torch.uint8, values 0 to 255"))
        if image.dim() != 3 or image.shape[0] != 3 or 0 in image.shape:
            todo = "Repeat a grey image three times."
            raise ShapeError(message(f"batch.data[{MODALITY!r}]", tuple(image.shape), "(3, H, W) per image", todo))
    return images
