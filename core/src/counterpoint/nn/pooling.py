"""Fewer tokens: each 2 x 2 block of a grid becomes one, by attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError, message


class AttentionPool2x2(nn.Module):
    """A grid's tokens -> a quarter of them: the mean of a 2 x 2 block asks its four tokens.

    A last row or column that has no partner makes blocks of two (or one): a 7 x 7 grid becomes 4 x 4.

    Args:
        dim: width of the tokens; a multiple of ``heads``.
        heads: attention heads.

    Raises:
        ConfigError: ``dim`` is no multiple of ``heads``.

    Source: Molmo's and CoME-VL's connector (arXiv 2604.03231).
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConfigError(message("AttentionPool2x2.dim", dim, f"multiples of heads={heads}"))
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, rows * columns, D)`` -> ``(B, ceil(rows / 2) * ceil(columns / 2), D)``, both row by row.

        Raises:
            ShapeError: the tokens are not those of ``grid``.
        """
        rows, columns = grid
        if tokens.dim() != 3 or tokens.shape[1] != rows * columns:
            raise ShapeError(message("tokens", f"shape {tuple(tokens.shape)}", f"(B, {rows} * {columns}, D)"))
        blocks = _blocks(tokens, rows, columns)  # (B, blocks, 4, D)
        real = _blocks(tokens.new_ones(1, rows * columns, 1), rows, columns)  # (1, blocks, 4, 1): 0 beyond the border
        mean = (blocks * real).sum(2, keepdim=True) / real.sum(2, keepdim=True)
        q, k, v = self._heads(self.query(mean)), self._heads(self.key(blocks)), self._heads(self.value(blocks))
        mask = None if rows % 2 == columns % 2 == 0 else real.bool().permute(0, 1, 3, 2).unsqueeze(2)
        pooled: Tensor = self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(2, 3).flatten(2))
        return pooled

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(2, 3)


def _blocks(tokens: Tensor, rows: int, columns: int) -> Tensor:
    count, _, dim = tokens.shape
    image = F.pad(tokens.reshape(count, rows, columns, dim), (0, 0, 0, columns % 2, 0, rows % 2))
    blocks = image.reshape(count, -(-rows // 2), 2, -(-columns // 2), 2, dim).transpose(2, 3)
    return blocks.reshape(count, -1, 4, dim)
