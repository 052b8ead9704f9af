"""Colour jitter, grey and solarise on a tile of images, with the meaning of torchvision's operations.

Brightness, contrast, saturation and hue act on `Pixels`, which keeps the true image as ``gain * x + offset``:
brightness and contrast then only change two numbers an image and clamp ``x`` once; saturation and hue (in HSV)
commute with such a change, so the result is the same as doing each step in full.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 255.0
LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LEAST_GAIN = 1e-6  # a black image keeps a gain that can be divided by


@dataclass(slots=True)
class Pixels:
    """Images ``gain * x + offset``, in [0, 255].

    Attributes:
        x: ``(T, 3, S, S)`` float32, changed in place.
        gain: ``(T, 1, 1, 1)``, positive.
        offset: ``(T, 1, 1, 1)``.
    """

    x: Tensor
    gain: Tensor
    offset: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Pixels:
        """Images in [0, 255] as they are."""
        one = x.new_ones(x.shape[0], 1, 1, 1)
        return cls(x, one, torch.zeros_like(one))

    def __getitem__(self, rows: slice) -> Pixels:
        return Pixels(self.x[rows], self.gain[rows], self.offset[rows])

    def clamp(self) -> None:
        """Clamp the true image to [0, 255]."""
        low, high = -self.offset / self.gain, (TOP - self.offset) / self.gain
        torch.maximum(self.x, low, out=self.x)
        torch.minimum(self.x, high, out=self.x)

    def plain(self) -> Tensor:
        """The true image; `x` is used up."""
        return self.x.mul_(self.gain).add_(self.offset)


def grey(x: Tensor) -> Tensor:
    """``(T, 1, S, S)`` luminance of ``(T, 3, S, S)``."""
    out = x[:, :1] * LUMA[0]
    return out.add_(x[:, 1:2], alpha=LUMA[1]).add_(x[:, 2:], alpha=LUMA[2])


def blend(pixels: Pixels, kind: Tensor, factor: Tensor) -> None:
    """One of brightness, contrast and saturation per image, in place.

    All three are ``clamp(factor * image + (1 - factor) * other)``: other is black, the mean luminance, the luminance.

    Args:
        pixels: T images.
        kind: ``(T,)`` on the CPU: BRIGHTNESS, CONTRAST or SATURATION.
        factor: ``(T,)`` on the CPU, >= 0; 1 changes nothing.
    """
    x, device = pixels.x, pixels.x.device
    contrast, saturation = kind == CONTRAST, kind == SATURATION
    scale = factor.clamp(min=LEAST_GAIN)
    if saturation.any():
        mix = torch.where(saturation, factor, 1.0).to(device).view(-1, 1, 1, 1)
        luma = grey(x).mul_(1 - mix)
        x.mul_(mix).add_(luma)
    if contrast.any():
        mean = x.new_tensor(LUMA).mul(x.mean((2, 3))).sum(1).view(-1, 1, 1, 1) * pixels.gain + pixels.offset * sum(LUMA)
        lift = torch.where(contrast, 1 - factor, 0.0).to(device).view(-1, 1, 1, 1) * mean
    else:
        lift = torch.zeros_like(pixels.offset)
    change = torch.where(saturation, 1.0, scale).to(device).view(-1, 1, 1, 1)
    pixels.gain = pixels.gain * change
    pixels.offset = pixels.offset * change + lift
    pixels.clamp()


def shift_hue(x: Tensor, shift: Tensor) -> None:
    """Turn the hue of ``(T, 3, S, S)`` images in place, in HSV; saturation and value stay.

    With hue h in sextants, a channel is ``max - chroma * clamp(||h - m| - 3| - 1, 0, 1)`` where m is 3, -1 and 1 for
    red, green and blue: the trapezoid of the HSV hexagon, taken on a circle of length 6.

    Args:
        x: any affine image of the true one with positive gain.
        shift: ``(T,)``, in turns, in [-0.5, 0.5].
    """
    red, green, blue = x.unbind(1)
    upper, lower = torch.maximum(green, blue), torch.minimum(green, blue)
    value = torch.maximum(red, upper)
    chroma = value - torch.minimum(red, lower)
    # |hue| in [0, 3] sextants: num / chroma where red is the greatest, 2 - num / chroma elsewhere
    hue = torch.minimum(red, upper).sub_(lower).div_(chroma.clamp(min=1e-12))
    torch.lt(red, upper, out=(high := torch.empty_like(hue)))
    hue.sub_(high, alpha=2).abs_()
    torch.copysign(hue, green - blue, out=hue)
    value += chroma
    turn = shift.view(-1, 1, 1) * 6
    for channel, centre in zip((red, green, blue), (3.0, -1.0, 1.0)):
        middle = torch.remainder(centre - turn + 3, 6) - 3
        wave = (hue - middle).abs_().sub_(3).abs_().clamp_(1, 2)
        torch.addcmul(value, chroma, wave, value=-1, out=channel)


def jitter(x: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Colour jitter: four operations per image, each image in an order of its own.

    Images must be sorted by the place of HUE in their order, so that hue, the dear one, runs once per image on a
    contiguous group: before the first, second or third of the other three operations, or after the last.

    Args:
        x: ``(T, 3, S, S)`` float32 in [0, 255], changed in place.
        order: ``(T, 4)``, a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE per image.
        factors: ``(T, 4)``: brightness, contrast, saturation (1: no change) and hue shift in turns (0: no change).

    Returns:
        ``(T, 3, S, S)`` in [0, 255]; `x` itself.
    """
    pixels = Pixels.of(x)
    place = (order == HUE).nonzero()[:, 1]
    edges = [0, *torch.bincount(place, minlength=4).cumsum(0).tolist()]
    others = order[order != HUE].view(-1, 3)
    shift = factors[:, HUE].to(x.device)
    for turn in range(4):
        rows = slice(edges[turn], edges[turn + 1])
        if rows.start < rows.stop:
            shift_hue(x[rows], shift[rows])
        if turn < 3:
            kind = others[:, turn]
            blend(pixels, kind, factors.gather(1, kind[:, None])[:, 0])
    return pixels.plain()


def solarise(x: Tensor, threshold: float = 128.0) -> Tensor:
    """Invert what is at or above ``threshold``; images in [0, 255]."""
    return torch.where(x >= threshold, TOP - x, x)
