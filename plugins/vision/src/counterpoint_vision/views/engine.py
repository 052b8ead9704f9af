"""Applies drawn parameters to pixels: on a CPU in tiles that stay in its cache, on a GPU all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint_vision.views import colour
from counterpoint_vision.views.blur import blur
from counterpoint_vision.views.crop import crop_batch, crop_each
from counterpoint_vision.views.settings import Augmentation, Draw, Parameters

TILE = 1 << 18  # values in a tile: 1 MiB of float32
SMALL = 40 * 40  # a batch of images with up to so many pixels is cropped by matrix products, even on a CPU
Images = Tensor | Sequence[Tensor]
Triple = tuple[float, float, float]


@dataclass(slots=True)
class Normalise:
    """``(pixels / 255 - mean) / std`` per channel.

    Attributes:
        gain: ``(3, 1, 1)``, 1 / (255 std).
        offset: ``(3, 1, 1)``, -mean / std.
    """

    gain: Tensor
    offset: Tensor

    @classmethod
    def of(cls, mean: Triple, std: Triple, device: torch.device) -> Normalise:
        """From mean and std for values in [0, 1]."""
        m, s = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))
        return cls(1 / (255 * s), -m / s)

    def into(self, out: Tensor, pixels: colour.Pixels) -> None:
        """Write normalised `pixels`, of one channel or three, into ``out`` (``(T, 3, S, S)``)."""
        torch.mul(pixels.x, self.gain * pixels.gain, out=out)
        out.add_(self.gain * pixels.offset + self.offset)


@torch.inference_mode()  # `out` is made outside, so what leaves here is an ordinary tensor
def augment(images: Images, draws: Draw, settings: Augmentation, normalise: Normalise, out: Tensor) -> None:
    """Write the view of ``images`` under ``draws`` into ``out`` (``(B, 3, size, size)`` float32)."""
    parameters = draws.each()
    rows = sorted(range(len(parameters)), key=lambda i: _rank(parameters[i]))
    tile = len(rows) if out.is_cuda else max(1, TILE // (3 * settings.size**2))
    for start in range(0, len(rows), tile):
        part = rows[start : start + tile]
        chosen = [parameters[i] for i in part]
        pixels = _colour(_crop(images, part, chosen, settings), chosen)
        _grey_and_blur(pixels, chosen, settings)
        _solarise(pixels, chosen)
        if len(part) == 1:
            normalise.into(out[part[0] : part[0] + 1], pixels)
        else:
            normalise.into(pixels.x, pixels)
            out[torch.tensor(part, device=out.device)] = pixels.x


def _rank(parameters: Parameters) -> int:
    """Place of hue among the colour operations, which `colour.jitter` wants sorted; images without jitter last."""
    return parameters.order.index(colour.HUE) if parameters.jitter else len(parameters.order)


def _crop(images: Images, part: list[int], chosen: list[Parameters], settings: Augmentation) -> Tensor:
    boxes, flip = [p.box for p in chosen], [p.flip for p in chosen]
    size, interpolation = settings.size, settings.interpolation
    if isinstance(images, Tensor) and (images.is_cuda or images.shape[2] * images.shape[3] <= SMALL):
        rows = torch.tensor(part, device=images.device)
        return crop_batch(images[rows], torch.tensor(boxes), torch.tensor(flip), size, interpolation)
    return crop_each([images[i] for i in part], boxes, flip, size, interpolation)


def _colour(x: Tensor, chosen: list[Parameters]) -> colour.Pixels:
    jittered = [p for p in chosen if p.jitter]
    pixels = colour.Pixels(x)
    if jittered:
        pixels = colour.jitter(x[: len(jittered)], [p.order for p in jittered], [p.factors for p in jittered])
        if len(jittered) < len(chosen):
            pixels.materialise()
            pixels = colour.Pixels(x)
    return pixels


def _grey_and_blur(pixels: colour.Pixels, chosen: list[Parameters], settings: Augmentation) -> None:
    """Both are linear, so they work on any affine image; a grey image is blurred once and not three times."""
    for i, parameter in enumerate(chosen):
        image = pixels.x[i]
        if parameter.gray:
            image = colour.grey(image[None])[0]
        if parameter.sigma:
            radius = settings.blur_kernel // 2 if settings.blur_kernel else int(4 * parameter.sigma + 0.5)
            image = blur(image, parameter.sigma, min(radius, settings.size - 1))
        if len(chosen) == 1:
            pixels.x = image[None]
        elif parameter.gray or parameter.sigma:
            pixels.x[i] = image


def _solarise(pixels: colour.Pixels, chosen: list[Parameters]) -> None:
    if any(p.solarise for p in chosen):
        x = pixels.materialise()
        for i, parameter in enumerate(chosen):
            if parameter.solarise:
                x[i] = colour.solarise(x[i])
