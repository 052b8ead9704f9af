"""Gaussian blur against torchvision."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from counterpoint_vision.views import blur as blurring

pytestmark = pytest.mark.unit

TOLERANCE = 255 * 2 * blurring.NEGLIGIBLE  # each of two axes may move so much weight
SIGMAS = (0.1, 0.4, 1.0, 2.0)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (16, 30), (224, 224)])
def test_blur_equals_torchvision(picture, height, width):
    image = picture(1, height, width)[0].float()
    for sigma in SIGMAS:
        got = blurring.blur(image, sigma, 11)
        torch.testing.assert_close(got, tv.gaussian_blur(image, 23, sigma), atol=TOLERANCE, rtol=0)


def test_a_cut_kernel_and_one_channel(picture):
    image = picture(1, 12, 9)[0, :1].float()
    for radius in (1, 2, 8):
        expected = tv.gaussian_blur(image, 2 * radius + 1, 2.0)
        torch.testing.assert_close(blurring.blur(image, 2.0, radius), expected, atol=TOLERANCE, rtol=0)


def test_a_constant_image_stays():
    image = torch.full((3, 40, 40), 200.0)
    torch.testing.assert_close(blurring.blur(image, 1.7, 11), image, atol=1e-3, rtol=0)


def test_taps_sum_to_one_before_and_after_shortening():
    for sigma in SIGMAS:
        taps = blurring.gaussian(sigma, 11)
        short = blurring.shorten(taps)
        assert 2 * sum(taps) - taps[0] == pytest.approx(1)
        assert 2 * sum(short) - short[0] == pytest.approx(1)
        assert short[0] - taps[0] < blurring.NEGLIGIBLE
        assert len(short) < len(taps)
