"""Whole views: the contract, torchvision's pixels for the same parameters, the plain view, odd inputs, errors."""

from __future__ import annotations

import itertools

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from counterpoint.errors import ConfigError, DataError, ShapeError
from counterpoint.types import Batch, Damaged
from counterpoint_vision.views import (
    Augmentation,
    BYOLViews,
    DINOViews,
    ImageViews,
    MoCoViews,
    MultiCropViews,
    SimCLRViews,
)
from counterpoint_vision.views.base import MEAN, STD
from counterpoint_vision.views.settings import draw

pytestmark = pytest.mark.unit

PRESETS = [SimCLRViews, MoCoViews, BYOLViews, MultiCropViews, DINOViews]
EVERYTHING = {"jitter": (0.8, 0.8, 0.8, 0.2), "blur": (0.1, 2.0), "solarise_p": 0.3}
TOLERANCE = 0.1 / 255 / min(STD)  # a tenth of a level, normalised


def batch_of(images):
    count = torch.arange(len(images))
    return Batch(data={"image": images}, index=count, content=count)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ragged(picture):
    return [picture(1, h, w, seed=h)[0] for h, w in ((40, 57), (21, 16), (64, 64), (5, 90), (1, 1))]


def by_torchvision(image, settings, p):
    """The view of one image, with torchvision's operations one after the other in float."""
    x = tv.resized_crop(image, *p.box, [settings.size] * 2, antialias=True).float() / 255
    x = x.flip(-1) if p.flip else x
    jitter = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for kind in p.order if p.jitter else []:
        x = jitter[kind](x, p.factors[kind])
    x = tv.rgb_to_grayscale(x, 3) if p.gray else x
    kernel = settings.blur_kernel or 2 * int(4 * p.sigma + 0.5) + 1
    x = tv.gaussian_blur(x, kernel, p.sigma) if p.sigma else x
    x = tv.solarize(x, 128 / 255) if p.solarise else x
    return tv.normalize(x, list(MEAN), list(STD))


@pytest.mark.parametrize(
    ("count", "side", "size"), [(40, 60, 32), (2, 256, 224), (1, 50, 33), (6, 44, 64)], ids=lambda value: str(value)
)
def test_views_equal_torchvision_for_the_same_parameters(picture, count, side, size):
    settings = Augmentation(size=size, blur_kernel=size // 10 | 1, **EVERYTHING)
    images = picture(count, side, side + 3)
    (view,) = ImageViews([settings])(batch_of(images), seeded())
    parameters = draw(settings, torch.tensor([[side, side + 3]] * count), seeded()).each()
    for image, p, got in zip(images, parameters, view.data):
        _same(got, by_torchvision(image, settings, p))


def _same(got, expected):
    """Equal but for pixels that lie on the solarisation threshold within rounding."""
    assert ((got - expected).abs() > TOLERANCE).float().mean() < 1e-3


def test_small_images_equal_torchvision_on_floats(picture):
    settings = Augmentation(size=32, blur_kernel=5, **EVERYTHING)
    images = picture(20, 32, 32)
    (view,) = ImageViews([settings])(batch_of(images), seeded())
    parameters = draw(settings, torch.full((20, 2), 32), seeded()).each()
    for image, p, got in zip(images, parameters, view.data):
        _same(got, by_torchvision(image.float(), settings, p))


def test_ragged_lists_equal_torchvision(picture):
    settings, images = Augmentation(size=24, **EVERYTHING), ragged(picture)
    (view,) = ImageViews([settings])(batch_of(images), seeded(5))
    parameters = draw(settings, torch.tensor([i.shape[1:] for i in images]), seeded(5)).each()
    for image, p, got in zip(images, parameters, view.data):
        _same(got, by_torchvision(image, settings, p))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_gives_finite_float_views_in_order(picture, preset):
    views = preset(blur=(0.1, 2.0))(batch_of(picture(5, 32, 32)), seeded())
    roles = [view.role for view in views]
    assert roles == sorted(roles) and roles[:2] == ["global", "global"]
    for view in views:
        size = 32 if view.role == "global" else 16
        assert view.modality == "image"
        assert view.data.shape == (5, 3, size, size) and view.data.dtype == torch.float32
        assert view.data.isfinite().all()
    assert not torch.equal(views[0].data, views[1].data)


@pytest.mark.parametrize("preset", PRESETS)
def test_views_are_a_function_of_the_generator_alone(picture, preset):
    views, batch = preset(), batch_of(picture(7, 32, 32))
    first = views(batch, seeded(3))
    torch.manual_seed(99)  # the global state must not matter
    second, other = views(batch, seeded(3)), views(batch, seeded(4))
    assert all(torch.equal(a.data, b.data) for a, b in zip(first, second))
    assert not torch.equal(first[0].data, other[0].data)


def test_what_is_drawn_does_not_depend_on_the_pixels(picture):
    one, two = seeded(), seeded()
    SimCLRViews()(batch_of(picture(4, 32, 32)), one)
    SimCLRViews()(batch_of([picture(1, 9 + i, 60)[0] for i in range(4)]), two)
    assert torch.equal(one.get_state(), two.get_state())


def test_images_are_left_as_they_are(picture):
    images = picture(4, 32, 32)
    before = images.clone()
    SimCLRViews()(batch_of(images), seeded())
    assert torch.equal(images, before)


def test_tiles_do_not_change_the_result(picture, monkeypatch):
    views, batch = BYOLViews(blur=(0.1, 2.0)), batch_of(picture(12, 32, 32))
    whole = views(batch, seeded())
    for tile in (1, 5 * 3 * 32 * 32):
        monkeypatch.setattr("counterpoint_vision.views.engine.TILE", tile)
        for a, b in zip(whole, views(batch, seeded())):
            _same(a.data, b.data)


def test_views_can_be_trained_on(picture):
    (view, _) = SimCLRViews()(batch_of(picture(2, 32, 32)), seeded())
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    torch.nn.functional.conv2d(view.data, weight).sum().backward()
    assert weight.grad.abs().sum() > 0
    view.data += 1


def test_channels_last_is_the_same_in_another_layout(picture):
    batch = batch_of(picture(3, 32, 32))
    for plain, other in zip(SimCLRViews()(batch, seeded()), SimCLRViews(channels_last=True)(batch, seeded())):
        assert other.data.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(plain.data, other.data)


def test_normalisation_is_an_argument(picture):
    images = picture(2, 32, 32)
    views = ImageViews([Augmentation(scale=(1, 1), ratio=(1, 1), flip=0, jitter_p=0, gray_p=0)], (0, 0, 0), (1, 1, 1))
    (view,) = views(batch_of(images), seeded())
    torch.testing.assert_close(view.data, images / 255)
    torch.testing.assert_close(views.plain(batch_of(images))[0].data, images / 255)


@pytest.mark.parametrize(("size", "resize"), [(32, None), (33, None), (224, None), (24, 1.5)])
def test_the_plain_view_is_torchvisions(picture, size, resize):
    short = round(size * resize) if resize else (256 if size == 224 else size)
    steps = [v2.Resize(short, antialias=True), v2.CenterCrop(size), v2.ToDtype(torch.float32, scale=True)]
    theirs = v2.Compose([*steps, v2.Normalize(MEAN, STD)])
    views = ImageViews([Augmentation(size=size)], plain_resize=resize)
    for images in (ragged(picture)[:3], picture(3, 60, 47), picture(2, size, size)):
        (view,) = views.plain(batch_of(images))
        assert view.role == "global" and view.data.shape == (len(images), 3, size, size)
        for image, got in zip(images, view.data):
            torch.testing.assert_close(got, theirs(image), atol=1e-5, rtol=0)


def test_multi_crop_has_its_own_sizes_and_numbers(picture):
    views = MultiCropViews(size=24, local_size=12, locals=3)(batch_of(picture(2, 40, 40)), seeded())
    assert [tuple(v.data.shape[2:]) for v in views] == [(24, 24)] * 2 + [(12, 12)] * 3
    assert len(MultiCropViews(locals=0).augmentations) == 2


def test_papers_settings_of_the_unlike_views():
    first, second = BYOLViews(size=224, blur=(0.1, 2.0)).augmentations
    assert (first.blur_p, first.solarise_p, second.blur_p, second.solarise_p) == (1.0, 0.0, 0.1, 0.2)
    assert first.blur_kernel == second.blur_kernel == 23
    one, two, *small = DINOViews(blur=(0.1, 2.0), locals=2).augmentations
    assert [a.blur_p for a in (one, two, *small)] == [1.0, 0.1, 0.5, 0.5]
    assert [a.solarise_p for a in (one, two, *small)] == [0.0, 0.2, 0.0, 0.0]


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (torch.zeros(2, 3, 8, 8), "batch.data['image']: found torch.float32; allowed: torch.uint8, values 0 to 255."),
        (
            torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
            "batch.data['image']: found (1, 8, 8); allowed: (3, H, W) per image. Repeat a grey image three times.",
        ),
        (
            [torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 0, 8, dtype=torch.uint8)],
            "batch.data['image']: found (3, 0, 8); allowed: (3, H, W) per image. Repeat a grey image three times.",
        ),
    ],
)
def test_unfit_images_are_named(images, text):
    for call in (lambda b: SimCLRViews()(b, seeded()), SimCLRViews().plain):
        with pytest.raises(ShapeError) as error:
            call(batch_of(images))
        assert str(error.value) == text


def test_a_batch_without_images_is_named():
    nothing = torch.empty(0, dtype=torch.int64)
    with pytest.raises(DataError) as error:
        SimCLRViews()(Batch({}, nothing, nothing), seeded())
    assert str(error.value) == "batch.data['image']: found no image; allowed: uint8 images. Use a dataset of images."
    with pytest.raises(DataError, match="All records of this batch were damaged"):
        SimCLRViews()(Batch({}, nothing, nothing, damaged=[Damaged(0, "a.png", "cut off")]), seeded())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SimCLRViews(views=0), "views: found 0; allowed: at least 1."),
        (lambda: MultiCropViews(locals=-1), "locals: found -1; allowed: at least 0."),
        (lambda: ImageViews([]), "augmentations: found []; allowed: at least one, the global ones first."),
        (
            lambda: ImageViews([Augmentation(role="local"), Augmentation()]),
            "augmentations: found ['local', 'global']; allowed: at least one, the global ones first.",
        ),
        (lambda: SimCLRViews(std=(0.2, 0.0, 0.2)), "std: found (0.2, 0.0, 0.2); allowed: three positive numbers."),
        (
            lambda: ImageViews([Augmentation()], plain_resize=0.5),
            "plain_resize: found 0.5; allowed: at least 1, or None.",
        ),
    ],
)
def test_wrong_arguments_are_named(make, text):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == text


def test_every_argument_of_a_preset_is_typed_for_the_command_line():
    from jsonargparse import ArgumentParser

    for preset in PRESETS:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(preset, "views")
        config = parser.parse_args(["--views.size=24", "--views.mean=[0.5, 0.5, 0.5]", "--views.blur=[0.1, 2.0]"])
        built = parser.instantiate_classes(config).views
        assert built.augmentations[0].size == 24 and tuple(built.augmentations[0].blur) == (0.1, 2.0)


@pytest.mark.parametrize("preset", [SimCLRViews, MoCoViews])
def test_as_many_views_as_are_asked_for(picture, preset):
    views = preset(size=8, views=5)(batch_of(picture(3, 12, 12)), seeded())
    assert [tuple(view.data.shape) for view in views] == [(3, 3, 8, 8)] * 5
    assert all(not torch.equal(a.data, b.data) for a, b in itertools.pairwise(views))
    with pytest.raises(ConfigError, match="views: found 0; allowed: at least 1"):
        preset(views=0)
