"""Two image encoders as one tower: what is fused, what is frozen, and what is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace
from torch import Tensor

from counterpoint.errors import ConfigError, RunError, ShapeError
from counterpoint.nn import attention_entropy, calm_layers
from counterpoint.parts import Encoder
from counterpoint.plugin import borrowed
from counterpoint.training.encoder_files import load_encoder, load_weights, save_encoder, save_weights
from counterpoint.training.export import described
from counterpoint.types import View
from counterpoint_multimodal.data import PairTable
from counterpoint_multimodal.data.examples import toy
from counterpoint_multimodal.encoders import CLIPTowers, FusedImages, FusedTowers, Fusion, Stack
from counterpoint_multimodal.encoders.fusion import grid_of, square
from counterpoint_multimodal.encoders.members import Member

pytestmark = pytest.mark.unit

SMALL = {"dim": 12, "heads": 2, "depth": 3}
TEXT = {"text_width": 16, "text_layers": 1, "text_heads": 2, "vocabulary": 300}
Made = Callable[..., FusedTowers]


def towers(**options: Any) -> FusedTowers:
    torch.manual_seed(0)
    members = {"image_options": (SMALL, {**SMALL, "patch": 8})}
    return FusedTowers(**{"dim": 8, "width": 16, "heads": 2, **members, **TEXT, **options})


@pytest.fixture
def view() -> View:
    return View(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), "image")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairTable:
    return PairTable(**toy(tmp_path_factory.mktemp("pairs"), 24))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a finished run leaves of its encoder."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(1)
    encoder = borrowed("encoders", "vision/tinyvit").load()(patch=8, **SMALL)
    for block in encoder.blocks[1:]:  # as training would have it: late layers look at one place
        torch.nn.init.normal_(block.qkv.weight, std=3)
    described = {
        "plugin": "vision",
        "encoder": {"class_path": "counterpoint_vision.encoders.TinyViT", "init_args": {"patch": 8, **SMALL}},
        "views": {"class_path": "counterpoint_vision.views.SimCLRViews", "init_args": {"size": 32}},
    }
    save_encoder(folder / "encoder", encoder, described, "")
    return str(folder)


def trained(run: str) -> Encoder:
    encoder, *_ = load_encoder(Path(run) / "encoder")
    return encoder


def test_as_many_tokens_as_the_first_alone_gives(view: View) -> None:
    for pool, tokens in ((False, 64), (True, 16)):
        encoder = towers(pool=pool).eval()
        encoding = encoder.image(view)
        assert encoding.tokens.shape == (2, tokens, 16)
        torch.testing.assert_close(encoding.pooled, encoding.tokens.mean(1))
        assert encoder(view).pooled.shape == (2, 8)
        assert encoder(view).features.shape == (2, 16)


def test_it_begins_as_the_first_encoder_and_then_asks_the_second(view: View) -> None:
    encoder = towers().eval()
    before = encoder.image(view).tokens
    torch.nn.init.normal_(encoder.image.members[1].encoder.embed.weight)
    assert torch.equal(encoder.image(view).tokens, before)
    torch.nn.init.constant_(encoder.image.fusion.attention.gate, 1)
    assert not torch.allclose(encoder.image(view).tokens, before)


def test_a_member_tells_its_layers_and_its_grid(view: View) -> None:
    encoder = borrowed("encoders", "vision/tinyvit").load()(**SMALL).eval()
    member = Member(encoder)
    assert member.stack == Stack(3, 12)
    layers, grid = member(View(view.data[:, :, :16], "image"))
    assert grid == (4, 8)
    assert layers.shape == (2, 3, 32, 12)
    assert torch.equal(layers[:, -1], encoder(View(view.data[:, :, :16], "image")).tokens)
    assert Member(encoder, size=16)(view)[1] == (4, 4)
    stages = Member(borrowed("encoders", "vision/slimresnet").load()(width=8))
    assert stages.stack == Stack(1, 32)  # its stages are unlike: the last one alone


def test_members_may_be_of_timm_or_one_tower_of_clip(view: View) -> None:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    timm = borrowed("encoders", "vision/timm").load()(name="vit_tiny_patch16_224", options=options)
    assert Member(timm).stack == Stack(2, 12)
    assert Member(timm).eval()(view)[1] == (4, 4)  # the class token is no place
    clip = CLIPTowers(width=16, layers=2, heads=2, patch=8, vocabulary=300)
    member = Member(clip)
    assert member.stack == Stack(2, 16)
    assert member(view)[1] == (4, 4)
    assert not any("text" in name for name, _ in member.named_parameters())


def test_the_second_may_see_pictures_of_another_size(view: View) -> None:
    encoder = towers(sizes=(None, 16)).eval()
    assert encoder.image.stacks(view)[1] == ((8, 8), (2, 2))
    assert encoder.image(view).tokens.shape == (2, 16, 16)


def test_layers_are_chosen_by_number(view: View) -> None:
    encoder = towers(layers=("all", [0, 2]))
    assert encoder.image.fusion.mixer(0).chosen.all()
    assert encoder.image.fusion.mixer(1).chosen.tolist() == [True, False, True]


def test_encoders_of_runs_bring_their_weights_and_stay(run: str, view: View) -> None:
    encoder = towers(runs=(None, run), layers=("all", "all"))
    first, second = encoder.image.members
    own, theirs = second.encoder.state_dict(), trained(run).state_dict()
    assert all(torch.equal(own[key], theirs[key]) for key in theirs)
    encoder.train()
    assert first.encoder.training
    assert not second.encoder.training
    encoder(view).pooled.square().sum().backward()
    assert all(value.grad is None for value in second.parameters())
    assert all(value.grad is not None for value in encoder.image.fusion.parameters())
    assert all(value.grad is not None for value in first.parameters())
    assert towers(runs=(None, run), frozen=(None, False)).image.members[1].encoder.embed.weight.requires_grad


def test_calm_layers_are_found_on_training_pictures(run: str, pairs: PairTable) -> None:
    encoder = towers(runs=(None, run))
    encoder.prepare(pairs)
    _, views, *_ = load_encoder(Path(run) / "encoder")
    curve = attention_entropy(trained(run), views.plain(pairs.batch(pairs.splits()["train"].tolist()))[0])
    assert curve[1] < curve[0]
    chosen = encoder.image.fusion.mixer(1).chosen
    assert chosen.nonzero().flatten().tolist() == calm_layers(curve)
    assert not chosen[0]
    assert encoder.image.fusion.mixer(0).chosen.all()
    assert towers().image.fusion.mixer(1).chosen.all()


def test_what_is_saved_needs_the_runs_no_more(run: str, pairs: PairTable, view: View, tmp_path: Path) -> None:
    arguments = {"dim": 8, "width": 16, "heads": 2, "image_options": (SMALL, None), "runs": (None, run), **TEXT}
    encoder = FusedTowers(**arguments).eval()
    encoder.prepare(pairs)
    save_weights(encoder, tmp_path / "model.safetensors")
    blank = FusedTowers.blank(arguments)
    assert blank["images"] == ["vision/tinyvit", "vision/tinyvit"]
    assert blank["image_options"] == [SMALL, {"patch": 8, **SMALL}]
    assert blank["runs"] == [None, None]
    assert blank["frozen"] == [None, True]
    assert FusedTowers.blank(blank) == blank
    other = FusedTowers(**blank).eval()
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(other(view).pooled, encoder(view).pooled)
    assert torch.equal(other.image.fusion.mixer(1).chosen, encoder.image.fusion.mixer(1).chosen)


def test_the_config_of_a_saved_encoder_names_no_run(run: str) -> None:
    encoder = Namespace(
        class_path="counterpoint_multimodal.encoders.FusedTowers", init_args=Namespace(dim=8, runs=[None, run])
    )
    views = Namespace(class_path="counterpoint_multimodal.views.PairViews", init_args=Namespace(size=32))
    method = Namespace(class_path="counterpoint.methods.Pair")
    told = described(Namespace(recipe="multimodal/clip", encoder=encoder, views=views, method=method))
    arguments = told["encoder"]["init_args"]
    assert arguments["runs"] == [None, None]
    assert arguments["image_options"] == [{}, {"patch": 8, **SMALL}]
    assert arguments["dim"] == 8
    assert told["views"]["init_args"] == {"size": 32}
    assert encoder.init_args.runs == [None, run]  # the run's own configuration still does


def test_layers_of_both_modalities(pairs: PairTable, view: View) -> None:
    encoder = towers().eval()
    encoder.prepare(pairs)
    *layers, fused = encoder.layers(view)
    assert [tuple(tokens.shape) for tokens in layers] == [(2, 64, 12)] * 3
    assert torch.equal(fused, encoder.image(view).tokens)
    text: Tensor = pairs.batch([0, 1]).data["text"]
    assert len(encoder.layers(View({"text": text}, "text"))) == 1


def test_grids_of_any_shape_are_found() -> None:
    assert grid_of(64, 32, 32) == (8, 8)
    assert grid_of(32, 16, 32) == (4, 8)
    assert grid_of(7, 32, 32) in ((1, 7), (7, 1))
    assert square(49) == (7, 7)
    with pytest.raises(ShapeError, match="tokens: found 48; allowed: a square number"):
        square(48)


def test_the_fusion_works_alone_on_stacks() -> None:
    fusion = Fusion(Stack(3, 8), Stack(2, 6), dim=16, heads=2)
    tokens = fusion(torch.randn(2, 3, 36, 8), torch.randn(2, 2, 9, 6))
    assert tokens.shape == (2, 9, 16)
    assert FusedImages([], fusion).dim == 16


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"images": "vision/tinyvit"}, "images: found 'vision/tinyvit'; allowed: two, one for each image encoder"),
        ({"runs": ("a", "b", "c")}, "runs: found 3 values; allowed: two, one for each image encoder"),
        ({"layers": ("all", "late")}, 'layers: found \'late\'; allowed: "all", "calm", or a list of numbers'),
        ({"layers": ("all", [3])}, "LayerMixer: layers: found 3; allowed: at least one number from 0 to 2"),
        ({"images": ("vision/tinyvit", "vision/tinyvt")}, "Did you mean 'tinyvit'?"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        towers(**options)
    assert text in str(caught.value)


def test_an_absent_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no encoder here"):
        towers(runs=(None, str(tmp_path)))


def test_an_encoder_that_does_not_attend_has_no_calm_layers(run: str, pairs: PairTable) -> None:
    _, views, *_ = load_encoder(Path(run) / "encoder")
    member = Member(borrowed("encoders", "vision/slimresnet").load()(width=8))
    with pytest.raises(ConfigError, match="layers: found 'calm' for SlimResNet, which attends 0 times"):
        member.calm(views, pairs)
