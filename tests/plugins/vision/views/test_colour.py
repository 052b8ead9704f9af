"""Colour operations, one by one and in every order, against torchvision on the same numbers."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from counterpoint_vision.views import colour

pytestmark = pytest.mark.unit

THEIRS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
FLOAT = 0.05  # levels of 255; torchvision's grey weights sum to 0.9999, ours are applied before the offset
INTEGER = 8.0  # torchvision cuts off the fraction after each of four operations, and later ones amplify that


def _theirs(image, order, factors):
    for kind in order:
        image = THEIRS[kind](image, factors[kind])
    return image


def _compare(images, orders, factors):
    place = sorted(range(len(images)), key=lambda i: orders[i].index(colour.HUE))
    images, orders, factors = images[place], [orders[i] for i in place], [factors[i] for i in place]
    got = colour.jitter(images.float(), orders, factors).materialise()
    for image, order, factor, one in zip(images, orders, factors, got):
        exact = _theirs(image.float() / 255, order, factor) * 255
        torch.testing.assert_close(one, exact, atol=FLOAT, rtol=0)
        assert (one - _theirs(image, order, factor).float()).abs().max() < INTEGER


def _random_factors(count, seed=0):
    draw = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed))
    return torch.cat([0.2 + 1.6 * draw[:, :3], 0.4 * draw[:, 3:] - 0.2], dim=1).tolist()


def test_all_orders_in_one_batch_equal_torchvision(picture):
    orders = [list(o) for o in permutations(range(4))]
    _compare(picture(24, 18, 18), orders, _random_factors(24))


@pytest.mark.parametrize("size", [32, 224])
def test_a_single_image_equals_torchvision(picture, size):
    for seed, order in enumerate(([3, 0, 1, 2], [1, 3, 2, 0], [2, 1, 0, 3])):
        _compare(picture(1, size, size, seed=seed), [order], _random_factors(1, seed))


@pytest.mark.parametrize("factors", [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
def test_factor_zero_gives_black_mean_and_grey(picture, factors):
    _compare(picture(2, 9, 9), [[0, 1, 2, 3]] * 2, [factors] * 2)


def test_strongest_factors_equal_torchvision(picture):
    _compare(picture(2, 12, 12), [[0, 1, 2, 3], [2, 3, 1, 0]], [[2.0, 2.0, 2.0, 0.5], [2.0, 2.0, 2.0, -0.5]])


@pytest.mark.parametrize("shift", [-0.5, -0.2, -1 / 6, 0.0, 0.1, 1 / 3, 0.5])
def test_hue_of_every_corner_of_the_colour_cube_and_its_ties(shift):
    levels = torch.tensor([0.0, 51.0, 128.0, 255.0])
    cube = torch.cartesian_prod(levels, levels, levels).t().reshape(1, 3, 8, 8).contiguous()
    expected = tv.adjust_hue(cube[0] / 255, shift) * 255
    colour.shift_hue(cube, [shift])
    torch.testing.assert_close(cube[0], expected, atol=2e-3, rtol=0)


def test_grey_images_keep_their_pixels_under_saturation_and_hue(picture):
    image = picture(1, 16, 16)[:, :1].expand(2, 3, 16, 16).float()
    got = colour.jitter(image.clone(), [[3, 2, 0, 1]] * 2, [[1.0, 1.0, 1.7, 0.3]] * 2).materialise()
    torch.testing.assert_close(got, image, atol=FLOAT, rtol=0)


def test_grey_equals_torchvision(picture):
    image = picture(3, 20, 20)
    exact = tv.rgb_to_grayscale(image.float())
    torch.testing.assert_close(colour.grey(image.float()), exact, atol=1e-3, rtol=0)


def test_solarise_equals_torchvision(picture):
    image = picture(2, 20, 20)
    assert torch.equal(colour.solarise(image.float()), tv.solarize(image, 128).float())
