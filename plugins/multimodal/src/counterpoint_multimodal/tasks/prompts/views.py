"""The three views of an image that GOPro compares, made from its raw pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms import v2

from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import Views
from counterpoint.types import Batch, View

Images = Tensor | Sequence[Tensor]


def batch_of(images: Images) -> Batch:
    """Raw uint8 images ``(3, H, W)`` as a batch: a tensor where sizes agree, else a list."""
    alike = not isinstance(images, Tensor) and len({image.shape for image in images}) == 1
    data = torch.stack(list(images)) if alike else images if isinstance(images, Tensor) else list(images)
    rows = torch.arange(len(images))
    return Batch(data={"image": data}, index=rows, content=rows)


class PromptViews(Views):
    """The image itself (cropped and flipped), MoCo v3's strong view of it, and AugMix's.

    Everything is done to the raw pixels of each image, and the encoder's own ``plain`` normalises all three alike. (The
    released code augments pixels that were normalised before, and gives every image the AugMix view of the batch's
    first.)

    - original: random resized crop, flip.
    - MoCo v3: crop, colour jitter (0.4, 0.4, 0.2, 0.1) at 0.8, grey at 0.2, Gaussian blur with sigma 0.1 to 2, flip.
    - AugMix: crop, flip; three chains of one to three of nine operations, mixed with weights of Dirichlet(1, 1, 1), and
      with the image by Beta(1, 1) (Hendrycks et al. 2020, arXiv 1912.02781).

    Args:
        base: the encoder's views, whose ``plain`` it was measured with.
        size: side of the crops in pixels.
        scale: least and greatest share of the image's area in the crops of the original and of AugMix.
        moco_scale: the same for the MoCo view.
        blur: least and greatest sigma at 224 pixels; smaller views are blurred in proportion.
        severity: of AugMix's operations, as torchvision counts: from 1, at which most do nothing; its 2 is the paper's
            1, a tenth of each operation's range.

    Raises:
        ConfigError: a setting out of its range.
    """

    modalities = ("image",)

    def __init__(
        self,
        base: Views,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        moco_scale: tuple[float, float] = (0.08, 1.0),
        blur: tuple[float, float] = (0.1, 2.0),
        severity: int = 2,
    ) -> None:
        for name, (least, greatest) in (("scale", scale), ("moco_scale", moco_scale)):
            if not 0 < least <= greatest <= 1:
                raise ConfigError(message(name, (least, greatest), "0 < least <= greatest <= 1"))
        if not 1 <= severity <= 10:
            raise ConfigError(message("severity", severity, "1 to 10"))
        self.base = base
        sigma = tuple(value * size / 224 for value in blur)
        crop, flip = v2.RandomResizedCrop(size, scale, antialias=True), v2.RandomHorizontalFlip()
        self.original = v2.Compose([crop, flip])
        self.moco = v2.Compose(
            [
                v2.RandomResizedCrop(size, moco_scale, antialias=True),
                v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
                v2.RandomGrayscale(0.2),
                v2.GaussianBlur(max(3, size // 10 | 1), sigma),
                flip,
            ]
        )
        self.augmix = v2.Compose([crop, flip, v2.AugMix(severity=severity, all_ops=False)])

    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        """Original, MoCo and AugMix view, each ``(B, 3, S, S)``; row i of each is of image i."""
        return [view for kind in range(3) for view in self.only(kind, batch, generator)]

    def only(self, kind: int, batch: Batch, generator: torch.Generator) -> list[View]:
        """One of the three: 0 original, 1 MoCo, 2 AugMix."""
        transform = (self.original, self.moco, self.augmix)[kind]
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.manual_seed(seed)
            images = torch.stack([transform(image) for image in _images(batch)])
        return self.base.plain(replace(batch, data={"image": images}))

    def plain(self, batch: Batch) -> list[View]:
        """The encoder's own plain view of the images."""
        return self.base.plain(replace(batch, data={"image": batch.data["image"]}))


def _images(batch: Batch) -> Images:
    images = batch.data.get("image")
    if images is None or len(images) == 0:
        raise DataError(message("batch.data['image']", "no image", "uint8 images (3, H, W)"))
    return images
