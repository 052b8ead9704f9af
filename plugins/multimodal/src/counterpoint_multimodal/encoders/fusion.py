"""What stands between the layers of two image encoders and one set of visual tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from counterpoint.errors import ShapeError, message
from counterpoint.nn import AttentionPool2x2, GatedCrossAttention, GatedMLP, LayerMixer, grid_coordinates

Grid = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stack:
    """Shape of what an encoder tells: ``layers`` layers of tokens of width ``dim``."""

    layers: int
    dim: int


class Fusion(nn.Module):
    """Layers of two encoders -> as many tokens as the first alone gives (CoME-VL).

    Each encoder's layers are mixed into one (`LayerMixer`), the second's followed by a gated network, both grids pooled
    2 x 2, and the first's tokens ask the second's (`GatedCrossAttention`), whose gate is closed at first.

    Args:
        first: the encoder that asks: the one that knows words (CLIP).
        second: the encoder that answers: the one that knows places (DINO). It may have any other grid.
        dim: width of the fused tokens.
        heads: attention heads of the fusion; of the pooling as many as divide an encoder's width.
        radius: how far a token looks into the other grid, in shares of the picture's side; None: everywhere.
        rope: whether attention knows the places.
        pool: whether both grids are pooled.
        orthogonal: whether the mixers' maps are held orthogonal.
        per_layer: whether each layer has a first map of its own.

    Source: CoME-VL (arXiv 2604.03231).
    """

    def __init__(
        self,
        first: Stack,
        second: Stack,
        dim: int = 128,
        heads: int = 4,
        radius: float | None = 0.25,
        rope: bool = True,
        pool: bool = True,
        orthogonal: bool = True,
        per_layer: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.mixers = nn.ModuleList(
            LayerMixer(stack.dim, stack.layers, orthogonal, per_layer) for stack in (first, second)
        )
        self.dense = GatedMLP(second.dim)
        self.pools = nn.ModuleList(
            AttentionPool2x2(stack.dim, math.gcd(stack.dim, heads)) for stack in (first, second) if pool
        )
        self.attention = GatedCrossAttention(first.dim, second.dim, dim, heads, radius=radius, rope=rope)

    def mixer(self, number: int) -> LayerMixer:
        """The mixer of encoder ``number``, 0 or 1."""
        found: Any = self.mixers[number]
        mixer: LayerMixer = found
        return mixer

    def forward(self, first: Tensor, second: Tensor, grids: Sequence[Grid] | None = None) -> Tensor:
        """``(B, K, N, F)`` and ``(B, K', N', F')`` -> ``(B, M, dim)``, M = N, or a quarter of it where pooled.

        Args:
            first: layers of the first encoder, tokens row by row.
            second: layers of the second.
            grids: (rows, columns) of both; None: they are square.

        Raises:
            ShapeError: layers of other shapes, or tokens that are not those of the grids.
        """
        sizes = grids or [square(first.shape[2]), square(second.shape[2])]
        tokens = [mixer(layers) for mixer, layers in zip(self.mixers, (first, second))]
        tokens[1] = self.dense(tokens[1])
        if self.pools:
            tokens = [pool(one, grid) for pool, one, grid in zip(self.pools, tokens, sizes)]
            sizes = [(-(-rows // 2), -(-columns // 2)) for rows, columns in sizes]
        places = [grid_coordinates(*grid).to(first.device) for grid in sizes]
        fused: Tensor = self.attention(*tokens, *places)
        return fused


def square(tokens: int) -> Grid:
    """The grid of ``tokens`` tokens, as many rows as columns.

    Raises:
        ShapeError: there is none.
    """
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ShapeError(message("tokens", tokens, "a square number", "Or say the grids."))
    return side, side


def grid_of(tokens: int, height: int, width: int) -> Grid:
    """Rows and columns of a picture's ``tokens`` tokens: of all that multiply to them, those most like its shape."""
    rows = [n for n in range(1, tokens + 1) if tokens % n == 0]
    best = min(rows, key=lambda n: abs(math.log(n * n / tokens * width / height)))
    return best, tokens // best
