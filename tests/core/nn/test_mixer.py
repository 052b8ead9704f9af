"""The layer mixer: convex weights between orthogonal maps, whatever the optimiser does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.nn import GatedMLP, LayerMixer
from counterpoint.training.encoder_files import load_weights, save_weights

pytestmark = pytest.mark.unit

K, D = 3, 8


@pytest.fixture
def layers() -> Tensor:
    return torch.randn(2, K, 5, D, generator=torch.Generator().manual_seed(0))


def stirred(mixer: LayerMixer, layers: Tensor, steps: int = 20) -> LayerMixer:
    """``mixer`` after some steps of an optimiser that pulls its maps about."""
    optimizer = torch.optim.AdamW(mixer.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (mixer(layers) - 3 * layers.flip(-1)[:, 0]).square().mean().backward()
        optimizer.step()
    return mixer


def formula(mixer: LayerMixer, layers: Tensor) -> Tensor:
    """The card's equation, layer by layer."""
    maps = list(mixer.first) * (K if len(mixer.first) == 1 else 1)
    mixed = sum(a * map_(mixer.norm(layers[:, k])) for k, (a, map_) in enumerate(zip(mixer.weights, maps)))
    return mixer.second(mixer.middle(mixed))


def away(matrix: Tensor) -> float:
    return (matrix.T @ matrix - torch.eye(len(matrix))).norm().item()


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_it_is_the_formula(layers: Tensor, orthogonal: bool, per_layer: bool) -> None:
    mixer = stirred(LayerMixer(D, K, orthogonal, per_layer), layers, 5)
    torch.testing.assert_close(mixer(layers), formula(mixer, layers))


def test_the_maps_stay_orthogonal_and_keep_lengths(layers: Tensor) -> None:
    mixer = stirred(LayerMixer(D, K, per_layer=True), layers)
    before = LayerMixer(D, K, per_layer=True)
    assert not torch.allclose(mixer.second.weight, before.second.weight)
    for map_ in (*mixer.first, mixer.second):
        assert away(map_.weight) < 1e-5
        torch.testing.assert_close(map_(layers).norm(dim=-1), layers.norm(dim=-1))
    assert float(mixer.penalty()) < 1e-9


def test_without_the_constraint_they_do_not_and_the_penalty_says_how_far(layers: Tensor) -> None:
    mixer = stirred(LayerMixer(D, K, orthogonal=False), layers)
    expected = sum(away(map_.weight) ** 2 for map_ in (*mixer.first, mixer.second))
    assert expected > 1e-2
    assert float(mixer.penalty()) == pytest.approx(expected, rel=1e-4)


def test_weights_are_convex_and_begin_as_the_mean(layers: Tensor) -> None:
    mixer = LayerMixer(D, K)
    torch.testing.assert_close(mixer.weights, torch.full((K,), 1 / K))
    expected = mixer.second(mixer.middle(mixer.first[0](mixer.norm(layers).mean(1))))
    torch.testing.assert_close(mixer(layers), expected)
    stirred(mixer, layers)
    assert float(mixer.weights.sum()) == pytest.approx(1)
    assert len(set(mixer.weights.tolist())) == K
    assert LayerMixer(D, 1).weights.tolist() == [1.0]


def test_layers_that_are_not_chosen_have_no_say(layers: Tensor) -> None:
    mixer = stirred(LayerMixer(D, K, per_layer=True), layers)
    mixer.choose([0, -1])
    assert mixer.chosen.tolist() == [True, False, True]
    assert mixer.weights[1] == 0
    assert float(mixer.weights.sum()) == pytest.approx(1)
    changed = layers.clone()
    changed[:, 1] = 7
    assert torch.equal(mixer(layers), mixer(changed))
    torch.testing.assert_close(mixer(layers), formula(mixer, layers))


def test_weights_and_choice_are_saved(layers: Tensor, tmp_path: Path) -> None:
    mixer = stirred(LayerMixer(D, K), layers, 3)
    mixer.choose([1, 2])
    save_weights(mixer, tmp_path / "mixer.safetensors")
    other = LayerMixer(D, K)
    load_weights(other, tmp_path / "mixer.safetensors")
    assert torch.equal(other(layers), mixer(layers))


def test_the_maps_are_exact_under_autocast(layers: Tensor) -> None:
    mixer = stirred(LayerMixer(D, K), layers, 5)
    with torch.autocast("cpu", torch.bfloat16):
        low = mixer(layers)
    torch.testing.assert_close(low.float(), mixer(layers), atol=0.05, rtol=0.05)
    assert away(mixer.second.weight) < 1e-5


def test_the_gated_network_is_its_formula() -> None:
    network = GatedMLP(D, expansion=2).eval()
    x = torch.randn(2, 5, D)
    value, gate = network.hidden(network.norm(x)).split(2 * D, -1)
    torch.testing.assert_close(network(x), x + network.back(value * F.gelu(gate)))


def test_what_does_not_fit_is_refused(layers: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"LayerMixer.layers: found 0; allowed: a whole number from 1"):
        LayerMixer(D, 0)
    with pytest.raises(ShapeError, match=r"layers: found shape \(2, 3, 5, 8\); allowed: \(B, 4, N, 8\)"):
        LayerMixer(D, 4)(layers)
    for wrong, found in (([], "none"), ([0, 3], "3")):
        with pytest.raises(ConfigError, match=f"layers: found {found}; allowed: at least one number from 0 to 2"):
            LayerMixer(D, K).choose(wrong)
