"""TinyViT."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.types import View
from counterpoint_vision.encoders import TinyViT

pytestmark = pytest.mark.unit


def test_tokens_per_patch():
    encoder = TinyViT().eval()
    for size, tokens in ((32, 64), (20, 25), (18, 16), (64, 256)):
        assert encoder(View(torch.rand(1, 3, size, size), "image")).tokens.shape == (1, tokens, 96)


def test_a_border_narrower_than_a_patch_is_left_out():
    encoder = TinyViT().eval()
    image = torch.rand(1, 3, 18, 18)
    cut = encoder(View(image[..., :16, :16], "image")).pooled
    assert torch.equal(encoder(View(image, "image")).pooled, cut)


def test_attention_agrees_with_its_formula():
    torch.manual_seed(0)
    block = TinyViT(dim=8, depth=1, heads=2).blocks[0]
    x = torch.randn(2, 5, 8)
    q, k, v = block.qkv(block.norm1(x)).reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mixed = (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v
    y = x + block.out(mixed.transpose(1, 2).reshape(2, 5, 8))
    y = y + block.back(functional.gelu(block.hidden(block.norm2(y))))
    torch.testing.assert_close(block(x), y)


def test_place_matters():
    torch.manual_seed(0)
    encoder = TinyViT().eval()
    image = torch.rand(1, 3, 32, 32)
    turned = image.roll(16, dims=-1)  # the same patches at other places
    assert not torch.allclose(encoder(View(image, "image")).pooled, encoder(View(turned, "image")).pooled, atol=1e-4)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"dim": 100}, "dim: found 100; allowed: multiples of heads=3"),
        ({"size": 30}, "size: found 30; allowed: multiples of patch=4"),
        ({"depth": 0}, "depth: found 0"),
    ],
)
def test_errors(settings, text):
    with pytest.raises(ConfigError, match=text):
        TinyViT(**settings)


def test_an_image_smaller_than_a_patch():
    with pytest.raises(ShapeError, match=r"sides of at least 4"):
        TinyViT()(View(torch.rand(1, 3, 3, 8), "image"))
