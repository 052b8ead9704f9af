"""Drawn parameters have torchvision's distributions; wrong settings are named."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import ColorJitter, GaussianBlur

from counterpoint.errors import ConfigError
from counterpoint_vision.views import Augmentation
from counterpoint_vision.views.settings import draw

pytestmark = pytest.mark.unit

DRAWS = 3000


def _draw(settings, draws=DRAWS, seed=0):
    return draw(settings, torch.full((draws, 2), 32), torch.Generator().manual_seed(seed))


def test_jitter_factors_have_torchvisions_distribution():
    jitter = ColorJitter(0.8, 0.8, 0.8, 0.2)
    torch.manual_seed(0)
    theirs = torch.tensor(
        [
            ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)[1:]
            for _ in range(DRAWS)
        ]
    )
    ours = _draw(Augmentation(jitter=(0.8, 0.8, 0.8, 0.2))).factors
    for column in range(4):
        assert ks_2samp(theirs[:, column], ours[:, column]).pvalue > 1e-3


def test_strengths_above_one_stop_at_factor_zero_as_in_torchvision():
    low, high = ColorJitter(brightness=1.5).brightness
    factors = _draw(Augmentation(jitter=(1.5, 0.0, 0.0, 0.0))).factors
    assert kstest(factors[:, 0], "uniform", (low, high - low)).pvalue > 1e-3
    assert (factors[:, 1:3] == 1).all() and (factors[:, 3] == 0).all()


def test_all_orders_are_equally_likely():
    orders = Counter(map(tuple, _draw(Augmentation(), 4800).order.tolist()))
    assert len(orders) == 24
    assert chisquare(list(orders.values())).pvalue > 1e-3


def test_gates_fire_with_their_probabilities_and_independently():
    settings = Augmentation(flip=0.3, jitter_p=0.8, gray_p=0.2, blur=(0.1, 2.0), blur_p=0.6, solarise_p=0.1)
    draws = _draw(settings, 20000)
    gates = torch.stack([draws.flip, draws.jitter, draws.gray, draws.sigma > 0, draws.solarise]).double()
    expected = torch.tensor([0.3, 0.8, 0.2, 0.6, 0.1], dtype=torch.float64)
    assert ((gates.mean(1) - expected).abs() < 4 * (expected * (1 - expected) / 20000).sqrt()).all()
    assert (torch.corrcoef(gates) - torch.eye(5)).abs().max() < 4 / 20000**0.5


def test_sigma_has_torchvisions_distribution():
    torch.manual_seed(0)
    theirs = [GaussianBlur.get_params(0.1, 2.0) for _ in range(DRAWS)]
    ours = _draw(Augmentation(blur=(0.1, 2.0), blur_p=1.0)).sigma
    assert ks_2samp(theirs, ours).pvalue > 1e-3
    assert (_draw(Augmentation(blur=None, blur_p=1.0)).sigma == 0).all()


def test_certain_and_impossible_gates():
    always, never = _draw(Augmentation(flip=1.0, jitter_p=1.0)), _draw(Augmentation(flip=0.0, jitter_p=0.0))
    assert always.flip.all() and always.jitter.all()
    assert not never.flip.any() and not never.jitter.any()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"size": 0}, "size: found 0; allowed: pixels, at least 1."),
        ({"scale": (0.5, 0.2)}, "scale: found (0.5, 0.2); allowed: 0 < least <= greatest <= 1."),
        ({"scale": (0.5, 1.2)}, "scale: found (0.5, 1.2); allowed: 0 < least <= greatest <= 1."),
        ({"ratio": (0.0, 1.0)}, "ratio: found (0.0, 1.0); allowed: 0 < least <= greatest."),
        ({"flip": 1.5}, "flip: found 1.5; allowed: a probability in [0, 1]."),
        ({"gray_p": -0.1}, "gray_p: found -0.1; allowed: a probability in [0, 1]."),
        (
            {"jitter": (0.4, 0.4, 0.4, 0.6)},
            "jitter: found (0.4, 0.4, 0.4, 0.6); allowed: strengths >= 0, that of hue at most 0.5.",
        ),
        ({"blur": (0.0, 2.0)}, "blur: found (0.0, 2.0); allowed: 0 < least <= greatest sigma, or None."),
        ({"blur_kernel": 4}, "blur_kernel: found 4; allowed: an odd number of taps, or None."),
        ({"role": "middle"}, "role: found 'middle'; allowed: 'global' or 'local'."),
    ],
)
def test_wrong_settings_are_named(settings, text):
    with pytest.raises(ConfigError) as error:
        Augmentation(**settings)
    assert str(error.value) == text
