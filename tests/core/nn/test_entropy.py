"""Entropy of attention: limits, any network that attends, and the layers that it speaks for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ShapeError
from counterpoint.nn import attention_entropy, calm_layers, token_entropy

pytestmark = pytest.mark.unit


def attending(scale: float, **options: object) -> object:
    """One attention over tokens ``(B, N, D)`` that are their own keys; a scale of 0 makes it uniform."""
    return lambda x: F.scaled_dot_product_attention(x, x, x, scale=scale, **options)  # type: ignore[arg-type]


def test_uniform_attention_has_log_n_and_one_hot_attention_none() -> None:
    x = 10 * torch.eye(7).expand(2, 7, 7)
    assert attention_entropy(attending(0.0), x) == [pytest.approx(math.log(7))]  # type: ignore[arg-type]
    assert attention_entropy(attending(10.0), x) == [pytest.approx(0, abs=1e-6)]  # type: ignore[arg-type]


def test_masks_and_causality_count() -> None:
    x = torch.randn(2, 4, 8)
    seen = torch.tensor([True, True, False, False]).expand(4, 4)
    assert attention_entropy(attending(0.0, attn_mask=seen), x) == [pytest.approx(math.log(2))]  # type: ignore[arg-type]
    added = torch.zeros(4, 4).masked_fill(~seen, -torch.inf)
    assert attention_entropy(attending(0.0, attn_mask=added), x) == [pytest.approx(math.log(2))]  # type: ignore[arg-type]
    mean = sum(math.log(n) for n in range(1, 5)) / 4
    assert attention_entropy(attending(0.0, is_causal=True), x) == [pytest.approx(mean)]  # type: ignore[arg-type]


def test_each_layer_of_a_network_is_told_and_its_output_untouched() -> None:
    class Block(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, scale=self.scale)

    network, x = nn.Sequential(Block(0.0), Block(0.3), nn.GELU()), torch.randn(3, 5, 8)
    before = network(x)
    found = attention_entropy(network, x)
    scores = 0.3 * network[0](x) @ network[0](x).transpose(1, 2)
    expected = torch.distributions.Categorical(logits=scores).entropy().mean()
    assert found == [pytest.approx(math.log(5)), pytest.approx(float(expected), rel=1e-5)]
    assert torch.equal(network(x), before)


def test_a_network_that_does_not_attend_is_refused() -> None:
    with pytest.raises(ShapeError, match="attention of the model: found none; allowed: at least one call"):
        attention_entropy(nn.Linear(4, 4), torch.randn(2, 4))


def test_entropy_of_tokens_is_at_most_that_of_equal_channels() -> None:
    flat, peaked = torch.ones(2, 3, 16), torch.zeros(2, 3, 16)
    peaked[..., 0] = 1
    low, high = sorted(token_entropy([flat, peaked]))
    assert high == pytest.approx(math.log(16))
    assert low < high - 0.5


@pytest.mark.parametrize(
    ("curve", "layers"),
    [
        ([5, 5, 1, 0, 0], [2, 3, 4]),
        ([0, 5, 5, 1, 1], [3, 4]),
        ([1, 0, 5, 5], [0, 1]),
        ([2, 2, 2], [0, 1, 2]),
        ([1], [0]),
    ],
)
def test_the_deepest_calm_run_is_chosen(curve: list[float], layers: list[int]) -> None:
    assert calm_layers(curve) == layers
