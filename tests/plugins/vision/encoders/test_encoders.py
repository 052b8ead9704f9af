"""What holds for every image encoder: shapes, gradients, saving, one image, several sizes."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from counterpoint.errors import ShapeError
from counterpoint.parts import Encoder
from counterpoint.types import View
from counterpoint_vision.encoders import SlimResNet, Timm, TinyViT

pytestmark = pytest.mark.unit

MAKE = {
    "slim": SlimResNet,
    "slim-group": lambda **kw: SlimResNet(width=16, norm="group", **kw),
    "slim-deep": lambda **kw: SlimResNet(width=16, depth=[2, 1], zero_init=True, **kw),
    "vit": TinyViT,
    "vit-wide": lambda **kw: TinyViT(dim=128, depth=2, heads=4, **kw),
    "timm": lambda **kw: Timm("test_resnet", **kw),
}


@pytest.fixture(params=MAKE)
def encoder(request) -> Encoder:
    torch.manual_seed(0)
    return MAKE[request.param]()


def view(*shape: int) -> View:
    return View(torch.rand(*shape, generator=torch.Generator().manual_seed(0)), "image")


@pytest.mark.parametrize("size", [18, 20, 32, 64, 224])
def test_any_size_gives_the_same_width(encoder, size):
    encoder.eval()
    with torch.no_grad():
        out = encoder(view(1, 3, size, size))
    assert out.pooled.shape == (1, encoder.dim) and out.tokens.shape[0] == 1
    assert out.tokens.shape[2] == encoder.dim and torch.isfinite(out.pooled).all()


def test_oblong_images(encoder):
    encoder.eval()
    assert encoder(view(2, 3, 32, 48)).pooled.shape == (2, encoder.dim)


def test_rows_do_not_see_each_other_in_eval(encoder):
    encoder.eval()
    batch = view(3, 3, 32, 32)
    with torch.no_grad():
        together, alone = encoder(batch).pooled, encoder(View(batch.data[1:2], "image")).pooled
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter(encoder):
    encoder.train()
    for parameter in encoder.parameters():
        if not parameter.any():  # the blocks that start as the identity let nothing through at first
            torch.nn.init.normal_(parameter, std=0.1)
    out = encoder(view(8, 3, 32, 32)).pooled
    (out * torch.randn(out.shape)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", MAKE)
def test_safetensors_round_trip(name, tmp_path):
    first, second = MAKE[name]().eval(), MAKE[name]().eval()
    with torch.no_grad():
        first.train()(view(4, 3, 32, 32))  # moves the running statistics
        first.eval()
        save_file(first.state_dict(), tmp_path / "encoder.safetensors")
        second.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=True)
        assert torch.equal(first(view(2, 3, 32, 32)).pooled, second(view(2, 3, 32, 32)).pooled)


@pytest.mark.parametrize("name", MAKE)
def test_grey_images(name):
    encoder = MAKE[name](channels=1).eval()
    assert encoder(view(2, 1, 32, 32)).pooled.shape == (2, encoder.dim)


def test_input_errors(encoder):
    with pytest.raises(ShapeError, match=r"view\.data: found shape \(2, 1, 8, 8\); allowed: float tensor \(B, 3, H, W"):
        encoder(view(2, 1, 8, 8))
    with pytest.raises(ShapeError, match=r"found shape \(3, 8, 8\)"):
        encoder(view(3, 8, 8))
    with pytest.raises(ShapeError, match=r"found torch\.uint8; .*Divide uint8 images by 255"):
        encoder(View(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "image"))
    with pytest.raises(ShapeError, match=r"found list; allowed: float tensor"):
        encoder(View([torch.zeros(3, 8, 8)], "image"))


def multiply_adds(encoder: Encoder, size: int) -> float:
    """Millions per image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder.eval()(view(1, 3, size, size))
    return counter.get_total_flops() / 2e6


@pytest.mark.parametrize("make, most", [(SlimResNet, 4), (TinyViT, 40)])
def test_small_encoders_stay_small(make, most):
    assert 1 < multiply_adds(make(), 32) < most


def test_tokens_pool_to_the_pooled():
    for make in (SlimResNet, TinyViT):
        out = make().eval()(view(2, 3, 32, 32))
        torch.testing.assert_close(out.tokens.mean(1), out.pooled)
