"""Crop boxes have torchvision's distribution; both ways to cut give torchvision's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from counterpoint_vision.views.crop import crop_batch, crop_each, draw_boxes

pytestmark = pytest.mark.unit

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
DRAWS = 2000


def _theirs(height, width, scale=SCALE):
    image = torch.empty(3, height, width)
    torch.manual_seed(0)
    return torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(RATIO)) for _ in range(DRAWS)])


def _ours(height, width, scale=SCALE, draws=DRAWS):
    sizes = torch.tensor([[height, width]]).expand(draws, 2)
    return draw_boxes(sizes, scale, RATIO, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("height", "width"), [(224, 224), (300, 400), (60, 150)])
def test_boxes_have_torchvisions_distribution(height, width):
    theirs, ours = _theirs(height, width), _ours(height, width)
    for column in range(4):
        assert ks_2samp(theirs[:, column], ours[:, column]).pvalue > 1e-3
    for derived in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2]):
        assert ks_2samp(derived(theirs), derived(ours)).pvalue > 1e-3


def test_the_distribution_test_notices_another_scale():
    theirs, ours = _theirs(224, 224), _ours(224, 224, scale=(0.15, 1.0))
    assert ks_2samp(theirs[:, 2] * theirs[:, 3], ours[:, 2] * ours[:, 3]).pvalue < 1e-3


@pytest.mark.parametrize(("height", "width"), [(20, 200), (200, 20), (3, 100), (1, 1), (1, 50)])
def test_where_nothing_fits_the_central_crop_is_torchvisions(height, width):
    torch.manual_seed(0)
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), [1.0, 1.0], list(RATIO))
    assert _ours(height, width, scale=(1.0, 1.0), draws=1)[0].tolist() == list(theirs)


def test_boxes_lie_inside_images_of_many_sizes():
    sizes = torch.randint(1, 60, (500, 2), generator=torch.Generator().manual_seed(0))
    boxes = draw_boxes(sizes, (0.01, 1.0), (0.2, 5.0), torch.Generator().manual_seed(0))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sizes).all()


def test_one_images_box_does_not_depend_on_the_others_sizes():
    sizes = torch.tensor([[32, 32], [50, 70], [9, 200]])
    other = torch.tensor([[80, 81], [50, 70], [10, 10]])
    first, second = (draw_boxes(s, SCALE, RATIO, torch.Generator().manual_seed(3)) for s in (sizes, other))
    assert first[1].tolist() == second[1].tolist()


def _expected(image, box, mirror, size, mode=InterpolationMode.BILINEAR):
    cut = tv.resized_crop(image, *box, [size, size], mode, antialias=True)
    return cut.flip(-1) if mirror else cut


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 16), (17, 23, 11), (8, 9, 32), (40, 30, 8)])
def test_bicubic_crops_equal_torchvision_and_pillow(picture, height, width, size):
    """To the bit one by one, else but for rounding; a cubic filter overshoots, and each pass cuts that off."""
    images = picture(6, height, width)
    boxes, flip = _ours(height, width, draws=6), torch.tensor([True, False] * 3)
    products = crop_batch(images, boxes, flip, size, "bicubic")
    each = crop_each(list(images), boxes.tolist(), flip.tolist(), size, "bicubic")
    for image, box, mirror, one, other in zip(images, boxes.tolist(), flip.tolist(), products, each):
        expected = _expected(image, box, mirror, size, InterpolationMode.BICUBIC)
        assert torch.equal(other, expected.float())
        assert (one - other).abs().max() < 1.5
        top, left, high, wide = box
        cut = Image.fromarray(image[:, top : top + high, left : left + wide].permute(1, 2, 0).numpy())
        pillow = torch.from_numpy(np.array(cut.resize((size, size), Image.Resampling.BICUBIC))).permute(2, 0, 1)
        assert ((pillow.flip(-1) if mirror else pillow).float() - other).abs().max() <= 2
    assert (products - crop_batch(images, boxes, flip, size)).abs().max() > 1


@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (32, 32, 16), (17, 23, 11), (8, 9, 32), (40, 30, 8)]
)
def test_matrix_crop_equals_torchvision_on_floats(picture, height, width, size):
    images = picture(6, height, width)
    boxes, flip = _ours(height, width, draws=6), torch.tensor([True, False] * 3)
    got = crop_batch(images, boxes, flip, size)
    for image, box, mirror, one in zip(images, boxes.tolist(), flip.tolist(), got):
        torch.testing.assert_close(one, _expected(image.float(), box, mirror, size), atol=1e-3, rtol=0)
        assert (one - _expected(image, box, mirror, size)).abs().max() <= 1.01  # theirs rounds to whole levels


@pytest.mark.parametrize("side_by_side", [True, False], ids=["HWC memory", "CHW memory"])
def test_single_crops_equal_torchvision_to_the_bit(picture, side_by_side):
    images = [picture(1, h, w, seed=h)[0] for h, w in ((40, 61), (33, 20), (7, 5), (96, 96))]
    if side_by_side:
        images = [i.permute(1, 2, 0).contiguous().permute(2, 0, 1) for i in images]
    boxes = torch.cat([_ours(*i.shape[1:], draws=1) for i in images])
    got = crop_each(images, boxes.tolist(), [True, False, True, False], 24)
    for image, box, mirror, one in zip(images, boxes.tolist(), (True, False, True, False), got):
        assert torch.equal(one, _expected(image, box, mirror, 24).float())
