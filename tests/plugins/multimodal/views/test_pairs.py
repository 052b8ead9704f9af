"""Views of pairs: which there are, in which order, of what strength; batches that lack a modality; options; speed."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from counterpoint import plugin as plugins
from counterpoint.errors import CounterpointError, DataError
from counterpoint.types import Batch, Damaged, View
from counterpoint_multimodal.data.captions import decode, encode, pad
from counterpoint_multimodal.views import PairViews, RocketViews, SLIPViews

pytestmark = pytest.mark.unit

BOTH = pytest.mark.parametrize("make", [PairViews, RocketViews])
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(count: int = 6, side: int = 40, captions: list[str] | None = None) -> Batch:
    """Images whose left half is red and whose right half is blue; two captions each."""
    images = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    images[:, 0, :, : side // 2], images[:, 2, :, side // 2 :] = 200, 200
    texts = pad([encode(captions or ["a red and a blue half", f"the picture number {i}"]) for i in range(count)])
    numbers = torch.arange(count)
    return Batch({"image": images, "text": texts}, numbers, numbers)


def only(batch: Batch, name: str) -> Batch:
    return Batch({name: batch.data[name]}, batch.index, batch.content)


def texts_of(view: View) -> list[str]:
    return [texts[0] for texts in decode(view.data["text"])]


def pixels(view: View) -> Tensor:
    """``(B, 3, S, S)`` in [0, 1]."""
    pixel: Tensor = view.data * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)
    return pixel


def kinds(views: list[View]) -> list[tuple[str, str]]:
    return [(view.modality, view.role) for view in views]


def same(one: list[View], other: list[View]) -> bool:
    leaves = [view.data["text"] if view.modality == "text" else view.data for view in (*one, *other)]
    return all(torch.equal(a, b) for a, b in zip(leaves[: len(one)], leaves[len(one) :], strict=True))


IMAGE, TEXT = ("image", "global"), ("text", "global")
STRONG_IMAGE, STRONG_TEXT = ("image", "local"), ("text", "local")


def test_a_pair_is_an_image_and_a_text() -> None:
    views = PairViews()(batch_of(), seeded())
    assert kinds(views) == [IMAGE, TEXT]
    assert views[0].data.shape == (6, 3, 32, 32) and views[0].data.dtype == torch.float32
    for number, text in enumerate(texts_of(views[1])):
        assert text in ("a red and a blue half", f"the picture number {number}")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [IMAGE, TEXT, STRONG_IMAGE, STRONG_TEXT]),
        ({"strong": 2}, [IMAGE, TEXT, STRONG_IMAGE, STRONG_IMAGE, STRONG_TEXT, STRONG_TEXT]),
        ({"strong_images": 2, "strong_texts": 0}, [IMAGE, TEXT, STRONG_IMAGE, STRONG_IMAGE]),
        ({"strong": 0, "strong_texts": 1}, [IMAGE, TEXT, STRONG_TEXT]),
        ({"strong": 0}, [IMAGE, TEXT]),
    ],
)
def test_a_rocket_has_weak_then_strong_views(options: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert kinds(RocketViews(**options)(batch_of(), seeded())) == expected


def test_slips_views_are_two_strong_images_beside_the_weak_pair() -> None:
    views = SLIPViews(size=24)(batch_of(captions=["the same words"] * 6), seeded())
    assert kinds(views) == [IMAGE, TEXT, STRONG_IMAGE, STRONG_IMAGE]
    assert texts_of(views[1]) == ["the same words"] * 6
    assert kinds(SLIPViews(strong_images=3)(batch_of(), seeded()))[2:] == [STRONG_IMAGE] * 3


def test_sizes() -> None:
    views = RocketViews(size=24, strong_size=16)(batch_of(), seeded())
    assert [views[n].data.shape[-1] for n in (0, 2)] == [24, 16]
    assert [RocketViews(size=24)(batch_of(), seeded())[n].data.shape[-1] for n in (0, 2)] == [24, 24]


def test_a_weak_image_is_an_upright_crop_in_its_own_colours_and_a_strong_one_is_not() -> None:
    weak, _, strong, _ = RocketViews()(batch_of(200), seeded())
    near_edges = pixels(weak)[..., [0, -1]]
    red_left = (near_edges[:, 0, :, 0] > 0.7).all(1) & (near_edges[:, 2, :, 0] < 0.1).all(1)
    assert red_left.float().mean() > 0.95, "not flipped, not recoloured"
    assert pixels(weak).max() < 200 / 255 + 0.01
    grey = (pixels(strong).std(1).amax((1, 2)) < 0.01).float().mean()
    assert grey == pytest.approx(0.2, abs=0.1)
    edge = pixels(strong)[:, 0].mean(1)
    assert (edge[:, 0] < edge[:, -1] - 0.2).float().mean() > 0.1, "some are flipped"


def test_a_weak_crop_takes_half_or_more() -> None:
    """On a ramp from left to right the crop's ends tell its width; with ratios to 4/3 half the area is 0.61 wide."""
    batch = batch_of(200, 64)
    batch.data["image"] = (torch.arange(64) * 4).to(torch.uint8).expand(200, 3, 64, 64).contiguous()

    def least(view: View) -> float:
        row = pixels(view)[:, 0, 16] * 255 / 4
        return float((row[:, -1] - row[:, 0]).abs().min()) / 63

    views = RocketViews(strong_options={"jitter_p": 0.0, "gray_p": 0.0})(batch, seeded())
    assert least(views[0]) > 0.55
    assert least(views[2]) < 0.45


def test_texts_of_each_strength() -> None:
    batch = batch_of(300, captions=["the red shoe of a man"])
    weak, strong = RocketViews(strong=1)(only(batch, "text"), seeded())
    assert set(texts_of(weak)) == {"the red shoe of a man", "red shoe man"}
    assert len(set(texts_of(strong))) > 10
    raw = RocketViews(weak_text="none", strong_text="none")(only(batch, "text"), seeded())
    assert {text for view in raw for text in texts_of(view)} == {"the red shoe of a man"}
    assert set(texts_of(PairViews(text="weak")(batch, seeded())[1])) == set(texts_of(weak))
    assert len(set(texts_of(PairViews(text="strong")(batch, seeded())[1]))) > 10


def test_every_text_view_draws_its_own_caption() -> None:
    views = RocketViews(strong=2, weak_text="none", strong_text="none")(only(batch_of(40), "text"), seeded())
    assert len({tuple(texts_of(view)) for view in views}) == 3


@BOTH
def test_plain_is_the_centre_and_the_first_caption(make: Any) -> None:
    batch = batch_of()
    views = make(size=40).plain(batch)
    assert kinds(views) == [IMAGE, TEXT]
    torch.testing.assert_close(pixels(views[0]) * 255, batch.data["image"].float(), atol=0.01, rtol=0)
    assert texts_of(views[1]) == ["a red and a blue half"] * 6
    assert same(views, make(size=40).plain(batch))


@BOTH
@pytest.mark.parametrize("name", ["image", "text"])
def test_a_batch_of_one_modality_gives_its_views_only(make: Any, name: str) -> None:
    batch = only(batch_of(), name)
    assert {view.modality for view in make()(batch, seeded())} == {name}
    assert kinds(make().plain(batch)) == [(name, "global")]


@BOTH
def test_a_batch_of_neither_is_an_error(make: Any) -> None:
    nothing = torch.arange(0)
    text = "batch.data: found no image and no text; allowed: 'image', 'text', or both."
    for make_views in (make().plain, lambda batch: make()(batch, seeded())):
        with pytest.raises(DataError, match=re.escape(text) + "$"):
            make_views(Batch({}, nothing, nothing))
        damaged = Batch({}, nothing, nothing, damaged=[Damaged(0, "a.jpg", "empty file")])
        with pytest.raises(DataError, match="All records of this batch were damaged"):
            make_views(damaged)


@BOTH
def test_views_are_a_function_of_the_generator_alone(make: Any) -> None:
    batch, views = batch_of(20), make()
    first = views(batch, seeded(3))
    torch.manual_seed(99)
    assert same(first, views(batch, seeded(3))) and same(first, make()(batch, seeded(3)))
    assert not same(first, views(batch, seeded(4)))


@BOTH
def test_images_of_unlike_sizes_and_a_batch_of_one(make: Any) -> None:
    batch = batch_of(1)
    assert all(len(v.data["text"] if v.modality == "text" else v.data) == 1 for v in make()(batch, seeded()))
    batch = batch_of(2)
    batch.data["image"] = [batch.data["image"][0], batch.data["image"][1][:, :30]]
    assert make()(batch, seeded())[0].data.shape == (2, 3, 32, 32)


def test_options_of_the_image_views() -> None:
    batch = only(batch_of(50), "image")
    (flipped,) = PairViews(image_options={"flip": 1.0, "scale": [1.0, 1.0], "ratio": [1.0, 1.0]})(batch, seeded())
    assert (pixels(flipped)[:, 2, :, 0] > 0.7).all() and (pixels(flipped)[:, 0, :, 0] < 0.1).all()
    (other,) = PairViews(image="vision/byol")(batch, seeded())
    assert kinds([other]) == [IMAGE] and other.data.shape == (50, 3, 32, 32)
    blurred = RocketViews(size=64, strong_options={"blur": (1.0, 2.0), "blur_p": 1.0})(batch, seeded())[1]
    plain = RocketViews(size=64)(batch, seeded())[1]
    assert kinds([blurred]) == [STRONG_IMAGE]
    assert pixels(blurred).diff(dim=-1).abs().amax() < pixels(plain).diff(dim=-1).abs().amax()


KNOWN = "scale, ratio, flip, strength, jitter_p, gray_p, blur, blur_p, mean, std, channels_last, interpolation"


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (
            PairViews,
            {"image_options": {"flop": 1}},
            f"image_options: options of vision/simclr: found flop; allowed: {KNOWN}.",
        ),
        (RocketViews, {"weak_options": {"size": 3}}, "weak_options: options of vision/simclr: found size; allowed:"),
        (RocketViews, {"strong_options": {"views": 3}}, "strong_options: options of vision/simclr: found views;"),
        (PairViews, {"image": "vision/simclear"}, "vision has no views called 'simclear'. Did you mean 'simclr'?"),
        (PairViews, {"image": "visionary/simclr"}, "No plugin called 'visionary' is installed."),
        (PairViews, {"image": "multimodal/pairs"}, "image: found multimodal/pairs; allowed: views of images of a size"),
        (RocketViews, {"image": "vision/byol", "strong": 3}, "image: found 2 views of BYOLViews; allowed: 3 or more."),
        (PairViews, {"text": "storng"}, "text: found 'storng'; allowed: 'none', 'weak' or 'strong'."),
        (RocketViews, {"weak_text": "soft"}, "weak_text: found 'soft'; allowed: 'none', 'weak' or 'strong'."),
        (RocketViews, {"strong_text": "soft"}, "strong_text: found 'soft'; allowed: 'none', 'weak' or 'strong'."),
        (RocketViews, {"strong": -1}, "strong_images: found -1; allowed: a whole number from 0."),
        (RocketViews, {"strong_texts": -2}, "strong_texts: found -2; allowed: a whole number from 0."),
        (RocketViews, {"swap": -1}, "swap: found -1; allowed: a weight, at least 0."),
    ],
)
def test_wrong_options_are_named(make: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(CounterpointError, match=re.escape(text)):
        make(**options)(batch_of(), seeded())


def test_the_plugin_offers_them() -> None:
    offered = plugins.get("multimodal").views
    assert [offered[name].load() for name in ("pairs", "rocket", "slip")] == [PairViews, RocketViews, SLIPViews]


def test_texts_cost_little_beside_images() -> None:
    """The words of a batch take less time than its pixels, at 32 px, where pixels are cheapest."""
    batch, views = batch_of(256, 64, ["a photo of the red shoe of a man on the beach"]), PairViews(text="strong")

    def seconds(part: Batch) -> float:
        best = float("inf")
        for seed in range(3):
            began = time.perf_counter()
            views(part, seeded(seed))
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(only(batch, "text")) < seconds(only(batch, "image"))
