"""Random resized crops: boxes drawn for a whole batch, and two exact ways to cut and resize them.

Small images of one size (CIFAR and the like) go through two batched matrix products, whose weights hold crop, flip and
antialiasing; large or ragged ones through torch's integer resize, one image at a time. Both are antialiased, bilinear
(torchvision's default) or bicubic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Interpolation = Literal["bilinear", "bicubic"]
CUBIC = -0.5  # slope of the bicubic filter at its first zero, as in Pillow and in torch's antialiased resize
ATTEMPTS = 10  # torchvision's RandomResizedCrop gives up after ten and falls back to a central crop


def draw_boxes(
    sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Crop boxes with the distribution of ``torchvision.transforms.RandomResizedCrop.get_params``.

    The area share is uniform in ``scale``, the aspect ratio log-uniform in ``ratio``; the first of ten attempts that
    fits into the image counts, else the largest central crop whose aspect ratio is allowed.

    Args:
        sizes: ``(B, 2)`` int64, heights and widths in pixels.
        scale: least and greatest share of the image's area, in (0, 1].
        ratio: least and greatest width / height.
        generator: on the CPU. Takes ``22 B`` numbers, whatever comes out.

    Returns:
        ``(B, 4)`` int64: top, left, height, width.
    """
    batch = sizes.shape[0]
    draw = torch.rand(batch, 2, ATTEMPTS, generator=generator, dtype=torch.float64)
    place = torch.rand(batch, 2, generator=generator, dtype=torch.float64)
    area = sizes.prod(1, keepdim=True) * (scale[0] + (scale[1] - scale[0]) * draw[:, 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draw[:, 1])
    width, height = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (width > 0) & (height > 0) & (height <= sizes[:, :1]) & (width <= sizes[:, 1:])
    first = fits.byte().argmax(1, keepdim=True)
    drawn = torch.cat([height.gather(1, first), width.gather(1, first)], dim=1)
    found = fits.any(1, keepdim=True)
    extent = torch.where(found, drawn, central_extent(sizes, ratio))
    spare = sizes - extent
    corner = torch.where(found, (place * (spare + 1)).floor().long(), spare // 2)
    return torch.cat([corner, extent], dim=1)


def central_extent(sizes: Tensor, ratio: tuple[float, float]) -> Tensor:
    """Largest ``(B, 2)`` height and width inside ``sizes`` whose aspect ratio (width / height) is within ``ratio``."""
    height, width = sizes[:, 0], sizes[:, 1]
    aspect = width / height
    narrow, broad = aspect < min(ratio), aspect > max(ratio)
    h = torch.where(narrow, (width / min(ratio)).round().long(), height)
    w = torch.where(broad, (height * max(ratio)).round().long(), width)
    return torch.stack([h.minimum(height).clamp(min=1), w.minimum(width).clamp(min=1)], dim=1)


def axis_weights(
    start: Tensor,
    length: Tensor,
    source: int,
    size: int,
    flip: Tensor | None = None,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """``(B, size, source)`` float32 weights that resize ``[start, start + length)`` to ``size`` pixels along one axis.

    A triangle filter as wide as the scale (antialiasing when shrinking, plain bilinear when enlarging), or a cubic one
    twice as wide, cut at the crop's edges and renormalised. ``flip`` (``(B,)`` bool) reverses the order of the output
    pixels.
    """
    scale = (length.float() / size)[:, None]
    pixel = torch.arange(size, device=start.device, dtype=torch.float32)[None]
    if flip is not None:
        pixel = torch.where(flip[:, None], size - 1 - pixel, pixel)
    centre = start.float()[:, None] + (pixel + 0.5) * scale
    tap = torch.arange(source, device=start.device, dtype=torch.float32) + 0.5
    weight = (tap - centre[:, :, None]).abs_().div_(-scale.clamp(min=1.0)[:, :, None])
    weight = weight.add_(1.0).clamp_(min=0.0) if interpolation == "bilinear" else cubic(weight.neg_())
    inside = (tap > start[:, None]) & (tap < (start + length)[:, None])
    weight *= inside[:, None]
    return weight.div_(weight.sum(2, keepdim=True))


def cubic(distance: Tensor) -> Tensor:
    """The bicubic filter at distances ``>= 0`` in pixels; 0 from 2 on."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance.square() + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def crop_batch(
    images: Tensor, boxes: Tensor, flip: Tensor, size: int, interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Crop, resize and flip ``(B, 3, H, W)`` uint8 images of one size by matrix products.

    Returns:
        ``(B, 3, size, size)`` float32 in [0, 255].
    """
    batch, channels, height, width = images.shape
    boxes, flip = boxes.to(images.device), flip.to(images.device)
    across = axis_weights(boxes[:, 1], boxes[:, 3], width, size, flip, interpolation)
    down = axis_weights(boxes[:, 0], boxes[:, 2], height, size, interpolation=interpolation)
    rows = torch.bmm(images.float().reshape(batch, channels * height, width), across.transpose(1, 2))
    if interpolation == "bilinear":
        return torch.matmul(down[:, None], rows.view(batch, channels, height, size))
    rows = rows.clamp_(0, 255)  # a cubic filter overshoots at edges; images of whole levels are cut off at both passes
    return torch.matmul(down[:, None], rows.view(batch, channels, height, size)).clamp_(0, 255)


def crop_each(
    images: Sequence[Tensor],
    boxes: Sequence[Sequence[int]],
    flip: Sequence[bool],
    size: int,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """Crop, resize and flip uint8 images ``(3, H_i, W_i)`` one by one; rounds to whole levels as torchvision does.

    Fastest for images whose channels lie side by side in memory (``(H, W, 3)`` permuted), as decoders give them.

    Returns:
        ``(B, 3, size, size)`` float32 in [0, 255].
    """
    out = torch.empty(len(images), 3, size, size, device=images[0].device)
    for row, image, box, mirror in zip(out, images, boxes, flip):
        cut = resize(image, box, (size, size), interpolation)
        row.copy_(cut.flip(-1) if mirror else cut)
    return out


def resize(
    images: Tensor, box: Sequence[int], size: tuple[int, int], interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Antialiased resize of the ``box`` (top, left, height, width) of uint8 images ``(..., 3, H, W)``."""
    top, left, height, width = box
    crop = images[..., top : top + height, left : left + width]
    if (height, width) == size:
        return crop
    batch = crop if crop.dim() == 4 else crop[None]
    batch = batch.contiguous(memory_format=torch.channels_last)  # else the resize copies it, ten times slower
    batch = functional.interpolate(batch, size, mode=interpolation, antialias=True)
    return batch if crop.dim() == 4 else batch[0]
