"""Two towers: heads, roles, pieces for learnt prompts, layers, saving, and that they learn pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from counterpoint.errors import ConfigError, DataError
from counterpoint.methods import Pair
from counterpoint.training.encoder_files import load_weights, save_weights
from counterpoint.types import Batch, View
from counterpoint_multimodal.encoders import TwoTowers

pytestmark = pytest.mark.unit
SMALL = {
    "dim": 12,
    "image_options": {"width": 8},
    "text_width": 16,
    "text_heads": 2,
    "vocabulary": 300,
    "max_tokens": 12,
}


@pytest.fixture
def towers(captions):
    """Arguments -> towers with a vocabulary."""

    def make(**more: object) -> TwoTowers:
        torch.manual_seed(0)
        made = TwoTowers(**{**SMALL, **more})
        made.prepare(captions)
        return made

    return make


def test_pooled_is_the_head_of_the_features_in_both_modalities(towers, words, pictures) -> None:
    encoder = towers().eval()
    for view in (pictures(3), words("a red circle", "square", "")):
        found = encoder(view)
        head = encoder.heads[view.modality]
        assert found.features is not None and isinstance(head, nn.Linear) and head.bias is None
        assert found.pooled.shape == (3, 12) and encoder.dims[view.modality] == 12
        torch.testing.assert_close(found.pooled, found.features @ head.weight.T)
        torch.testing.assert_close(found.features, encoder.towers[view.modality](view).pooled)


def test_local_views_have_heads_of_their_own_only_where_asked(towers, words, pictures) -> None:
    for view, local in ((pictures(3), pictures(3, role="local")), (words("a", "b"), words("a", "b", role="local"))):
        one = towers().eval()
        torch.testing.assert_close(one(view).pooled, one(local).pooled, rtol=0, atol=0)
        two = towers(local_heads=True, local_hidden=20).eval()
        found = two(local)
        torch.testing.assert_close(found.pooled, two.local_heads[view.modality](found.features))
        assert (found.pooled - two(view).pooled).abs().max() > 1e-3
    kinds = [type(layer).__name__ for layer in two.local_heads["text"].layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]


def test_embedded_tokens_give_what_their_text_gives_and_carry_gradients(towers, words) -> None:
    encoder, texts = towers().eval(), ["a red circle", "square"]
    ids, mask = encoder.tokenize(texts)
    embeds = encoder.token_embedding(ids).detach().requires_grad_()
    found = encoder.encode_text_embeds(embeds, mask, mask.sum(1) - 1)
    torch.testing.assert_close(found, encoder(words(*texts)).pooled)
    found.sum().backward()
    assert embeds.grad is not None
    assert (embeds.grad[mask].abs().sum(-1) > 0).all() and (embeds.grad[~mask] == 0).all()
    earlier = encoder.encode_text_embeds(embeds, mask, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(earlier[0], earlier[1])  # both begin with [SOT]


@pytest.mark.parametrize(
    ("image", "options", "shapes"),
    [
        ("vision/slimresnet", {"width": 8}, [(2, 64, 8), (2, 16, 16), (2, 4, 32)]),
        ("vision/tinyvit", {"size": 32, "patch": 8, "dim": 24, "depth": 5}, [(2, 16, 24)] * 5),
        ("vision/timm", {"name": "test_vit"}, [(2, 100, 64)] * 6),
        ("vision/timm", {"name": "test_resnet"}, [(2, 1600, 32), (2, 400, 48), (2, 100, 192), (2, 25, 96)]),
    ],
)
def test_layers_of_image_towers(towers, pictures, image: str, options: dict, shapes: list) -> None:
    encoder = towers(image=image, image_options=options).eval()
    view = pictures(2, 160 if image == "vision/timm" else 32)
    found = encoder.layers(view)
    assert [tuple(x.shape) for x in found] == shapes
    tower = encoder.image
    last = tower.norm(found[-1]) if image == "vision/tinyvit" else found[-1]
    if image in ("vision/tinyvit", "vision/slimresnet"):
        torch.testing.assert_close(last, tower(view).tokens)
    assert not any(module._forward_hooks for module in encoder.modules())


def test_layers_of_the_text_tower(towers, words) -> None:
    assert len(towers(text_layers=3).layers(words("a red circle"))) == 3


def test_an_image_tower_without_known_blocks_says_so(towers, pictures) -> None:
    encoder = towers()
    del encoder.image.blocks
    with pytest.raises(ConfigError, match=r"encoder: found SlimResNet; allowed: one with blocks in any of: blocks"):
        encoder.layers(pictures(2))


def test_saved_weights_load_strictly_into_a_blank_one(towers, words, pictures, tmp_path: Path) -> None:
    encoder = towers(local_heads=True).eval()
    save_weights(encoder, tmp_path / "model.safetensors")
    blank = TwoTowers(**TwoTowers.blank({**SMALL, "local_heads": True}))
    load_weights(blank, tmp_path / "model.safetensors")
    for view in (pictures(3), words("a red circle", "Straße in 東京")):
        assert torch.equal(blank.eval()(view).pooled, encoder(view).pooled)


def test_blank_takes_no_weights_for_the_image_tower() -> None:
    asked = {"image": "vision/timm", "image_options": {"name": "resnet18", "pretrained": True}}
    assert TwoTowers.blank(asked)["image_options"] == {"name": "resnet18", "pretrained": False, "weights": None}
    assert TwoTowers.blank({})["image_options"] == {}


def test_errors(towers, captions) -> None:
    with pytest.raises(ConfigError, match=r"image|encoders.*'tinyvitt'.*Did you mean 'tinyvit'"):
        TwoTowers(image="vision/tinyvitt")
    with pytest.raises(ConfigError, match="not of the form plugin/part"):
        TwoTowers(image="tinyvit")
    with pytest.raises(ConfigError, match="dim: found 0"):
        TwoTowers(dim=0)
    with pytest.raises(DataError, match=r"view.modality: found 'sound'; allowed: image, text"):
        towers()(View(torch.zeros(1), "sound"))
    del captions
    with pytest.raises(ConfigError, match=r"dataset: found object; allowed: pairs, with `captions`"):
        TwoTowers(**SMALL).text.prepare(object())  # type: ignore[arg-type]


def test_they_learn_which_colour_goes_with_which_word(towers, words) -> None:
    """Six colours and their names, learnt in 20 steps; by chance one of six is right."""
    colours = {"red": "100", "green": "010", "blue": "001", "yellow": "110", "pink": "101", "cyan": "011"}
    pixels = torch.tensor([[2.0 * int(bit) - 1 for bit in bits] for bits in colours.values()])[:, :, None, None]
    generator = torch.Generator().manual_seed(0)
    method = Pair(towers(), projector=lambda dim: nn.Identity()).train()
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=3e-3)

    def views() -> list[View]:
        noise = torch.randn(6, 3, 16, 16, generator=generator)
        return [View(pixels + 0.1 * noise, "image"), words(*(f"a {colour} sheet" for colour in colours))]

    def right() -> float:
        with torch.no_grad():
            image, text = (nn.functional.normalize(method.encoder(view).pooled) for view in views())
        return ((image @ text.T).argmax(1) == torch.arange(6)).float().mean().item()

    before = right()
    for _ in range(20):
        method(views(), Batch({}, torch.arange(6), torch.arange(6))).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    assert right() == 1.0 and before <= 0.5
