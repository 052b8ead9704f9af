"""Gaussian blur with a width of its own per image: separable, reflecting at the border, as torchvision's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 16
NEGLIGIBLE = 1e-4  # weight of the taps left out: less than 0.03 of 255 levels


def gaussian(sigma: float, radius: int) -> list[float]:
    """The centre and ``radius`` further taps of a normalised Gaussian; the other side is the mirror image."""
    taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(radius + 1)]
    total = 2 * sum(taps) - taps[0]
    return [t / total for t in taps]


def shorten(taps: list[float]) -> list[float]:
    """Leave out outer taps that weigh less than NEGLIGIBLE together; the centre takes over their weight."""
    lost = 0.0
    while len(taps) > 1 and lost + 2 * taps[-1] < NEGLIGIBLE:
        lost += 2 * taps[-1]
        taps = taps[:-1]
    return [taps[0] + lost, *taps[1:]]


def blur(x: Tensor, sigma: float, radius: int) -> Tensor:
    """Blur ``(C, H, W)`` float images with a Gaussian of ``2 radius + 1`` taps along each axis; ``radius < H, W``."""
    taps = shorten(gaussian(sigma, radius))
    if len(taps) == 1:
        return x
    band = _band(taps, x)
    # channel by channel: what one needs fits a core's cache; that of three does not, and takes half as long again
    return torch.stack([_down_and_turn(_down_and_turn(plane, band), band) for plane in x])


def _band(taps: list[float], like: Tensor) -> Tensor:
    """``(BLOCK + 2 radius, BLOCK)``: column j holds the whole kernel from row j on."""
    zeros = [0.0] * (BLOCK - 1)
    return like.new_tensor([*zeros, *taps[:0:-1], *taps, *zeros]).unfold(0, BLOCK, 1).flip(1)


def _down_and_turn(plane: Tensor, band: Tensor) -> Tensor:
    """Filter ``(H, W)`` down the rows, reflecting at the border, and swap rows with columns: ``(W, H)``.

    A product with a band matrix, BLOCK output rows at a time: quicker than adding shifted images, and than a grouped
    convolution by far.
    """
    (height, width), taps = plane.shape, band.shape[0]
    radius, blocks = (taps - BLOCK) // 2, -(-height // BLOCK)
    wide = functional.pad(plane[None, None], (0, 0, radius, radius), mode="reflect")
    if height % BLOCK:
        wide = functional.pad(wide, (0, 0, 0, blocks * BLOCK - height))
    windows = wide.as_strided((blocks, width, taps), (BLOCK * width, 1, width))
    out = torch.bmm(windows, band.expand(blocks, -1, -1))
    return out.transpose(0, 1).reshape(width, blocks * BLOCK)[:, :height]
