"""One encoder's tokens ask another's: gated cross-attention between two grids."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.nn.rope import AxialRoPE


class GatedCrossAttention(nn.Module):
    """``F = S + tanh(g) W_o Attention(W_q S, W_k D, W_v D)`` with ``S = LN(P_s x)``, ``D = LN(P_d y)``; g = 0 at first.

    Training so begins from the projected queries alone, and as many tokens come out as queries went in. Positions of
    both grids are told by `AxialRoPE`, and a query sees keys no farther than ``radius`` in (y, x), the last two
    coordinates; its nearest keys always, as a coarse grid may have none within the radius.

    Args:
        query_dim: width of the queries' tokens x.
        key_dim: width of the other encoder's tokens y.
        dim: width of the fused tokens; a multiple of ``heads``.
        heads: attention heads.
        axes: coordinates of a token, at least 2.
        radius: the farthest key, in shares of the picture's side; None: all. From sqrt(2) on it hides nothing.
        rope: whether queries and keys are rotated by their places.

    Attributes:
        gate: scalar g. At 0 it alone has a gradient, the attention's maps none yet.

    Raises:
        ConfigError: ``dim`` is no multiple of ``heads``, fewer than 2 axes, or a radius that is not above 0.

    Source: CoME-VL (arXiv 2604.03231), released code: keys *and* values come from the other encoder, and attention
    stays within a crop (its figure draws the values from the queries' encoder, which unequal grids do not allow).
    """

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        dim: int,
        heads: int = 8,
        axes: int = 2,
        radius: float | None = 0.25,
        rope: bool = True,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConfigError(message("GatedCrossAttention.dim", dim, f"multiples of heads={heads}"))
        if axes < 2:
            raise ConfigError(message("GatedCrossAttention.axes", axes, "whole numbers from 2: (..., y, x)"))
        if radius is not None and not radius > 0:
            raise ConfigError(message("GatedCrossAttention.radius", radius, "a number > 0, or None"))
        self.heads, self.axes, self.radius = heads, axes, radius
        self.query_projection, self.query_norm = nn.Linear(query_dim, dim), nn.LayerNorm(dim)
        self.key_projection, self.key_norm = nn.Linear(key_dim, dim), nn.LayerNorm(dim)
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.rope = AxialRoPE(dim // heads, axes) if rope else None
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, queries: Tensor, keys: Tensor, query_places: Tensor, key_places: Tensor) -> Tensor:
        """``(..., N, query_dim)`` and ``(..., M, key_dim)`` -> ``(..., N, dim)``; each leading index is a crop.

        Args:
            queries: tokens that ask.
            keys: tokens of the same crops that answer.
            query_places: ``(..., N, axes)`` coordinates in [0, 1]; leading dimensions broadcast (see
                `grid_coordinates`).
            key_places: ``(..., M, axes)``.

        Raises:
            ShapeError: unlike crops, or places that are not of the tokens.
        """
        if queries.shape[:-2] != keys.shape[:-2]:
            raise ShapeError(message("keys", f"shape {tuple(keys.shape)}", f"{(*queries.shape[:-2], 'M', 'D')}"))
        for name, tokens, places in (("query", queries, query_places), ("key", keys, key_places)):
            if places.shape[-2:] != (tokens.shape[-2], self.axes):
                allowed = f"(..., {tokens.shape[-2]}, {self.axes})"
                raise ShapeError(message(f"{name}_places", f"shape {tuple(places.shape)}", allowed))
        asking = self.query_norm(self.query_projection(queries))
        answering = self.key_norm(self.key_projection(keys))
        q, k, v = self._heads(self.query(asking)), self._heads(self.key(answering)), self._heads(self.value(answering))
        if self.rope is not None:
            q, k = self.rope(q, query_places.unsqueeze(-3)), self.rope(k, key_places.unsqueeze(-3))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=self._seen(query_places, key_places))
        update: Tensor = self.out(found.transpose(-3, -2).flatten(-2))
        fused: Tensor = asking + self.gate.tanh() * update
        return fused

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)

    def _seen(self, query_places: Tensor, key_places: Tensor) -> Tensor | None:
        """``(..., 1, N, M)`` bool, or None where all keys are seen."""
        if self.radius is None or self.radius >= 2**0.5:
            return None
        distance = (query_places[..., :, None, -2:] - key_places[..., None, :, -2:]).square().sum(-1).sqrt()
        nearest = distance.amin(-1, keepdim=True)
        return (distance <= nearest.clamp(min=self.radius) + 1e-6).unsqueeze(-3)
