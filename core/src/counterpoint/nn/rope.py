"""Rotary encoding of places that may be anywhere: two grids of unlike size in one frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError, message


def grid_coordinates(rows: int, columns: int, crops: int | None = None) -> Tensor:
    """Places of a grid's cells in [0, 1], row by row: the first and last cells of every grid are at 0 and 1.

    Args:
        rows: cells along y.
        columns: cells along x.
        crops: number of crops of one picture, each with such a grid.

    Returns:
        ``(rows * columns, 2)`` of (y, x); with ``crops`` ``(crops, rows * columns, 3)`` of (t, y, x), t the crop's
        number over the last one's. One cell alone is in the middle, one crop alone at 0.
    """
    y, x = (torch.linspace(0, 1, n) if n > 1 else torch.full((1,), 0.5) for n in (rows, columns))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
    if crops is None:
        return places
    t = torch.linspace(0, 1, crops)[:, None, None].expand(crops, len(places), 1)
    return torch.cat([t, places.expand(crops, -1, -1)], -1)


class AxialRoPE(nn.Module):
    """Rotate pairs of a head's dimensions by the token's coordinates (rotary position encoding, one group an axis).

    The head's dimensions are split into one even group an axis (what is left over goes to the first); pair p of axis a
    turns by ``(pi / 2) coord_a f_{a,p}`` with ``f = exp(linspace(0, -ln 256, pairs))``, learnable. Lengths stay, and
    inner products of rotated queries and keys depend on differences of their coordinates only.

    Args:
        dim: width of a head; even, and at least 2 an axis.
        axes: coordinates of a token: 2 (y, x), 3 (t, y, x), ...
        learnable: whether the frequencies are trained.

    Raises:
        ConfigError: a width that cannot be split so.

    Source: CoME-VL (arXiv 2604.03231), released code (for its 448 dimensions: groups of 152, 148, 148).
    """

    def __init__(self, dim: int, axes: int = 2, learnable: bool = True) -> None:
        super().__init__()
        if axes < 1 or dim % 2 or dim < 2 * axes:
            raise ConfigError(message("AxialRoPE.dim", f"{dim} for {axes} axes", "even numbers from 2 an axis"))
        self.dim, self.axes = dim, axes
        share, left = divmod(dim // 2, axes)
        self.pairs = [share + left, *[share] * (axes - 1)]
        frequencies = torch.cat([torch.linspace(0, -math.log(256), pairs).exp() for pairs in self.pairs])
        self.frequencies = nn.Parameter(frequencies, requires_grad=learnable)

    def forward(self, x: Tensor, coordinates: Tensor) -> Tensor:
        """Rotate ``(..., N, dim)`` by ``(..., N, axes)``, whose leading dimensions broadcast.

        Raises:
            ShapeError: coordinates of another number of axes or tokens, or heads of another width.
        """
        if x.shape[-1] != self.dim or coordinates.shape[-2:] != (x.shape[-2], self.axes):
            found = f"{tuple(coordinates.shape)} for tokens {tuple(x.shape)}"
            raise ShapeError(message("coordinates", found, f"(..., N, {self.axes}) for (..., N, {self.dim})"))
        axis = torch.arange(self.axes, device=x.device).repeat_interleave(torch.tensor(self.pairs, device=x.device))
        angle = (torch.pi / 2) * coordinates.to(self.frequencies)[..., axis] * self.frequencies
        cos, sin = angle.cos().to(x), angle.sin().to(x)
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
