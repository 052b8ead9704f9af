"""Gaussian blur with a width of its own per image: separable, reflecting at the border, as torchvision's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def gaussian(sigma: float, radius: int) -> list[float]:
    """The centre and ``radius`` further taps of a normalised Gaussian; the negative side is the mirror image."""
    taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(radius + 1)]
    total = 2 * sum(taps) - taps[0]
    return [t / total for t in taps]


def blur(x: Tensor, sigma: float, radius: int) -> Tensor:
    """Blur ``(3, S, S)`` float images with a Gaussian of ``2 radius + 1`` taps along each axis."""
    taps = gaussian(sigma, radius)
    while len(taps) > 1 and 2 * sum(taps[-1:]) < 1e-5:
        taps.pop()
    for axis in (-2, -1):
        x = _along(x, taps, axis)
    return x


def _along(x: Tensor, taps: list[float], axis: int) -> Tensor:
    radius, size = len(taps) - 1, x.shape[axis]
    pad = (0, 0, radius, radius) if axis == -2 else (radius, radius, 0, 0)
    wide = functional.pad(x[None], pad, mode="reflect")[0] if radius else x
    out = torch.mul(wide.narrow(axis, radius, size), taps[0])
    for step, tap in enumerate(taps[1:], start=1):
        out.add_(wide.narrow(axis, radius - step, size), alpha=tap)
        out.add_(wide.narrow(axis, radius + step, size), alpha=tap)
    return out
