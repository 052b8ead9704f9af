"""SlimResNet."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError
from counterpoint.types import View
from counterpoint_vision.encoders import SlimResNet

pytestmark = pytest.mark.unit


def test_shape_of_the_default():
    encoder = SlimResNet()
    assert encoder.dim == 128
    assert encoder.eval()(View(torch.rand(1, 3, 32, 32), "image")).tokens.shape == (1, 4, 128)
    assert encoder(View(torch.rand(1, 3, 64, 64), "image")).tokens.shape == (1, 16, 128)


def test_tokens_are_in_row_major_order():
    """A change in the image's last row and first column moves the token there more than any other."""
    torch.manual_seed(0)
    encoder = SlimResNet().eval()
    image = torch.zeros(1, 3, 96, 96)
    with torch.no_grad():
        before = encoder(View(image, "image")).tokens
        image = image.clone()
        image[:, :, 88:, :8] = 1
        moved = (encoder(View(image, "image")).tokens - before).norm(dim=-1)[0]
    assert moved.argmax() == 5 * 6


def test_the_stem_may_be_narrower():
    encoder = SlimResNet(width=64, depth=(1, 1), stem=32)
    assert encoder.dim == 128 and encoder.stem.out_channels == 32
    assert encoder.eval()(View(torch.rand(1, 3, 32, 32), "image")).tokens.shape == (1, 16, 128)


def test_zero_init_makes_every_block_its_shortcut():
    encoder = SlimResNet(width=16, depth=(2,), zero_init=True)
    block = encoder.blocks[1]
    x = torch.rand(2, 16, 4, 4)
    assert torch.equal(block(x.clone()), x)


def test_weights_are_contiguous_so_that_they_can_be_saved():
    assert all(p.is_contiguous() for p in SlimResNet().parameters())


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"width": 0}, r"width: found 0; allowed: whole numbers of at least 1"),
        ({"stem": 0}, r"stem: found 0; allowed: whole numbers of at least 1"),
        ({"depth": ()}, r"depth: found no stage; .*Try depth=\[1, 1, 1\]"),
        ({"depth": (1, 0)}, r"depth\[1\]: found 0"),
        ({"channels": 1.5}, r"channels: found 1\.5"),
    ],
)
def test_errors(settings, text):
    with pytest.raises(ConfigError, match=text):
        SlimResNet(**settings)


def test_by_groups_a_sample_is_encoded_alike_in_any_company() -> None:
    torch.manual_seed(0)
    alone, other = torch.rand(2, 1, 3, 32, 32)
    for norm, alike in (("group", True), ("batch", False)):
        encoder = SlimResNet(width=16, norm=norm).train()  # type: ignore[arg-type]
        found = [
            encoder(View(images, "image")).pooled[0] for images in (alone.repeat(2, 1, 1, 1), torch.cat([alone, other]))
        ]
        assert torch.allclose(*found, atol=1e-5) is alike


def test_an_unknown_norm_is_named() -> None:
    with pytest.raises(ConfigError, match="norm: found 'layer'; allowed: 'batch' or 'group'"):
        SlimResNet(norm="layer")  # type: ignore[arg-type]
