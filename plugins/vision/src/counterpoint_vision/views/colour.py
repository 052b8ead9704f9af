"""Colour jitter, grey and solarise on a tile of images, with the meaning of torchvision's operations.

Brightness, contrast, saturation and hue act on `Pixels`, which keeps the true image as ``gain * x + offset``:
brightness and contrast then only change two numbers an image and clamp ``x`` once; saturation and hue (in HSV)
commute with such a change, so the result is the same as doing each step in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 255.0
LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LEAST_GAIN = 1e-6  # a black image keeps a gain that can be divided by

Number = float | Tensor  # one per image: a float for a single image, else a tensor (T, 1, 1, 1)


def spread(values: Sequence[float], x: Tensor) -> Number:
    """One number per image of ``x`` in a form that multiplies it; plain floats are several times faster."""
    return values[0] if len(values) == 1 else x.new_tensor(values).view(-1, 1, 1, 1)


@dataclass(slots=True)
class Pixels:
    """Images ``gain * x + offset``, in [0, 255].

    Attributes:
        x: ``(T, 3, S, S)`` float32, changed in place.
        gain: one per image, positive.
        offset: one per image.
    """

    x: Tensor
    gain: Number = 1.0
    offset: Number = 0.0

    def clamp(self) -> None:
        """Clamp the true image to [0, 255]."""
        low, high = -self.offset / self.gain, (TOP - self.offset) / self.gain
        if isinstance(low, Tensor) and isinstance(high, Tensor):
            torch.maximum(self.x, low, out=self.x)
            torch.minimum(self.x, high, out=self.x)
        else:
            self.x.clamp_(float(low), float(high))

    def materialise(self) -> Tensor:
        """The true image, in place of ``x``."""
        self.x.mul_(self.gain).add_(self.offset)
        self.gain, self.offset = 1.0, 0.0
        return self.x


def grey(x: Tensor) -> Tensor:
    """``(T, 1, S, S)`` luminance of ``(T, 3, S, S)``."""
    out = x[:, :1] * LUMA[0]
    return out.add_(x[:, 1:2], alpha=LUMA[1]).add_(x[:, 2:], alpha=LUMA[2])


def mean_grey(pixels: Pixels) -> Number:
    """Mean luminance of each true image."""
    mean = pixels.x.mean((2, 3)) @ pixels.x.new_tensor(LUMA)
    part = mean.item() if len(mean) == 1 else mean.view(-1, 1, 1, 1)
    return part * pixels.gain + pixels.offset * sum(LUMA)


def blend(pixels: Pixels, kinds: Sequence[int], factors: Sequence[float]) -> None:
    """One of brightness, contrast and saturation per image, in place.

    All three are ``clamp(factor * image + (1 - factor) * other)``: other is black, the mean luminance, the luminance.

    Args:
        pixels: T images.
        kinds: BRIGHTNESS, CONTRAST or SATURATION per image.
        factors: per image, >= 0; 1 changes nothing.
    """
    x = pixels.x
    if SATURATION in kinds:
        mix = spread([f if k == SATURATION else 1.0 for k, f in zip(kinds, factors)], x)
        torch.lerp(grey(x), x, mix, out=x)
    change = spread([1.0 if k == SATURATION else max(f, LEAST_GAIN) for k, f in zip(kinds, factors)], x)
    lift: Number = 0.0
    if CONTRAST in kinds:
        lift = spread([1 - f if k == CONTRAST else 0.0 for k, f in zip(kinds, factors)], x) * mean_grey(pixels)
    pixels.gain = pixels.gain * change
    pixels.offset = pixels.offset * change + lift
    if max(factors) > 1:  # with factors up to 1 the result lies between the image and the other
        pixels.clamp()


def shift_hue(x: Tensor, shifts: Sequence[float]) -> None:
    """Turn the hue of ``(T, 3, S, S)`` images in place, in HSV; saturation and value stay.

    With hue h in sextants, a channel is ``max - chroma * clamp(||h - m| - 3| - 1, 0, 1)`` where m is 3, -1 and 1 for
    red, green and blue: the trapezoid of the HSV hexagon, taken on a circle of length 6.

    Args:
        x: any affine image of the true one with positive gain.
        shifts: per image, in turns, in [-0.5, 0.5].
    """
    red, green, blue = x.unbind(1)
    value, least = x.amax(1), x.amin(1)
    hue = torch.add(green, blue).sub_(red).sub_(least)
    chroma = torch.sub(value, least, out=least).add_(1e-20)  # no 0 / 0 where all channels are equal
    hue.div_(chroma).add_(1)  # in [0, 3]: distance from red on the hexagon; green's half counts as positive
    hue.copysign_(green.sub_(blue))  # x is not needed any more
    value += chroma
    centres = [[(m - 6 * shift) % 6 - 3 for m in (6.0, 2.0, 4.0)] for shift in shifts]
    middle = x.new_tensor(centres).view(-1, 3, 1, 1)
    wave = torch.sub(hue.unsqueeze(1), middle, out=x).abs_().sub_(3).abs_().clamp_(1, 2)
    torch.addcmul(value.unsqueeze(1), chroma.unsqueeze(1), wave, value=-1, out=x)


def jitter(x: Tensor, orders: Sequence[Sequence[int]], factors: Sequence[Sequence[float]]) -> Pixels:
    """Colour jitter: four operations per image, each image in an order of its own.

    Images must be sorted by the place of HUE in their order, so that hue, the dear one, runs once per image on a
    contiguous group: before the first, second or third of the other three operations, or after the last.

    Args:
        x: ``(T, 3, S, S)`` float32 in [0, 255], changed in place.
        orders: a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE per image.
        factors: brightness, contrast, saturation (1: no change) and hue shift in turns (0: no change) per image.
    """
    pixels = Pixels(x)
    places = [order.index(HUE) for order in orders]
    others = [[kind for kind in order if kind != HUE] for order in orders]
    for turn in range(4):
        if turn in places:
            first, count = places.index(turn), places.count(turn)
            shift_hue(x[first : first + count], [f[HUE] for f in factors[first : first + count]])
        if turn < 3:
            kinds = [order[turn] for order in others]
            blend(pixels, kinds, [f[kind] for kind, f in zip(kinds, factors)])
    return pixels


def solarise(x: Tensor, threshold: float = 128.0) -> Tensor:
    """Invert what is at or above ``threshold``; images in [0, 255]."""
    return torch.where(x >= threshold, TOP - x, x)
