"""Attention pooling: each 2 x 2 block by itself."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.nn import AttentionPool2x2

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("grid", "pooled"), [((4, 6), 6), ((24, 24), 144), ((14, 14), 49), ((3, 5), 6), ((1, 1), 1)])
def test_a_quarter_of_the_tokens_comes_out(grid: tuple[int, int], pooled: int) -> None:
    assert AttentionPool2x2(8)(torch.randn(2, grid[0] * grid[1], 8), grid).shape == (2, pooled, 8)


@pytest.mark.parametrize("grid", [(4, 6), (3, 5)])
def test_a_block_is_attended_by_its_mean_and_no_other_block_is_seen(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool, (rows, columns) = AttentionPool2x2(8, heads=1), grid
    tokens = torch.randn(2, rows * columns, 8)
    found = pool(tokens, grid).unflatten(1, (-(-rows // 2), -(-columns // 2)))
    image = tokens.unflatten(1, grid)
    for y in range(0, rows, 2):
        for x in range(0, columns, 2):
            block = image[:, y : y + 2, x : x + 2].flatten(1, 2)
            scores = pool.query(block.mean(1, keepdim=True)) @ pool.key(block).transpose(1, 2) / 8**0.5
            expected = pool.out(scores.softmax(-1) @ pool.value(block))[:, 0]
            torch.testing.assert_close(found[:, y // 2, x // 2], expected)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"AttentionPool2x2.dim: found 6; allowed: multiples of heads=4"):
        AttentionPool2x2(6)
    with pytest.raises(ShapeError, match=r"tokens: found shape \(2, 5, 8\); allowed: \(B, 2 \* 2, D\)"):
        AttentionPool2x2(8)(torch.randn(2, 5, 8), (2, 2))
