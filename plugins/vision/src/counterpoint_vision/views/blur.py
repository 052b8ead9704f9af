"""Gaussian blur with a width of its own per image: separable, reflecting at the border, as torchvision's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

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
    """Blur ``(C, H, W)`` float images with a Gaussian of ``2 radius + 1`` taps along each axis; ``radius < H, W``.

    The result may be a transposed view of its memory: who copies it next puts it right at no extra cost.
    """
    taps = shorten(gaussian(sigma, radius))
    if len(taps) == 1:
        return x
    kernel = x.new_tensor([*taps[:0:-1], *taps])
    return _down(_down(x, kernel).transpose(1, 2), kernel).transpose(1, 2)


def _down(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter ``(C, H, W)`` down the rows with a kernel of odd length, reflecting at the border."""
    radius = len(kernel) // 2
    wide = functional.pad(x[None], (0, 0, radius, radius), mode="reflect")
    return _convolve(wide, kernel) if x.is_cuda or _onednn() else _add_shifted(wide[0], kernel.tolist())


def _onednn() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and bool(torch.backends.mkldnn.enabled)


def _convolve(wide: Tensor, kernel: Tensor) -> Tensor:
    """A depthwise convolution of ``(1, C, H, W)`` down the rows, whose channels are the columns.

    That is how oneDNN works on contiguous numbers; with colours as channels it takes ten times as long.
    """
    width = wide.shape[3]
    weight = kernel.expand(width, 1, 1, -1).contiguous()
    return functional.conv2d(wide.permute(0, 3, 1, 2), weight, groups=width)[0].permute(1, 2, 0)


def _add_shifted(x: Tensor, kernel: list[float]) -> Tensor:
    """The same for ``(C, H, W)`` without oneDNN, whose absence makes depthwise convolutions very slow."""
    height = x.shape[1] - len(kernel) + 1
    out = x[:, :height] * kernel[0]
    for row, tap in enumerate(kernel[1:], start=1):
        out.add_(x[:, row : row + height], alpha=tap)
    return out
