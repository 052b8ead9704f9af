"""Rotary encoding: lengths stay, and only differences of places count."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.nn import AxialRoPE, grid_coordinates

pytestmark = pytest.mark.unit


def test_coordinates_of_unlike_grids_share_a_frame() -> None:
    fine, coarse = grid_coordinates(12, 12), grid_coordinates(7, 3)
    assert fine.shape == (144, 2)
    assert coarse.shape == (21, 2)
    for places in (fine, coarse):
        assert places[0].tolist() == [0, 0]
        assert places[-1].tolist() == [1, 1]
    assert coarse[1].tolist() == [0, 0.5]  # x runs first
    assert grid_coordinates(1, 1).tolist() == [[0.5, 0.5]]


def test_crops_are_told_apart() -> None:
    places = grid_coordinates(2, 2, crops=3)
    assert places.shape == (3, 4, 3)
    assert places[:, 0, 0].tolist() == [0, 0.5, 1]
    assert torch.equal(places[2, :, 1:], grid_coordinates(2, 2))
    assert grid_coordinates(2, 2, crops=1)[0, :, 0].tolist() == [0] * 4


def test_groups_and_frequencies_are_those_of_the_paper() -> None:
    rope = AxialRoPE(448, 3)
    assert [2 * pairs for pairs in rope.pairs] == [152, 148, 148]
    first = rope.frequencies[: rope.pairs[0]]
    assert float(first[0]) == 1
    assert float(first[-1]) == pytest.approx(1 / 256)
    assert rope.frequencies.requires_grad
    assert not AxialRoPE(8, learnable=False).frequencies.requires_grad


def test_a_pair_turns_by_its_axis_alone() -> None:
    rope = AxialRoPE(8, 2)
    x = torch.ones(1, 8)
    along_x = rope(x, torch.tensor([[0.0, 1.0]]))
    assert torch.equal(along_x[:, :4], x[:, :4])
    angle = math.pi / 2  # the first frequency is 1
    torch.testing.assert_close(
        along_x[0, 4:6], torch.tensor([math.cos(angle) - math.sin(angle), math.sin(angle) + math.cos(angle)])
    )


def test_zero_is_the_identity_and_lengths_stay() -> None:
    rope, x = AxialRoPE(12, 3), torch.randn(2, 5, 12)
    assert torch.equal(rope(x, torch.zeros(5, 3)), x)
    turned = rope(x, torch.rand(2, 5, 3))
    assert not torch.allclose(turned, x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(-2, 2), st.floats(-2, 2))
def test_scores_depend_on_differences_only(seed: int, dy: float, dx: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rope = AxialRoPE(8, 2).double()
    q, k = (torch.randn(4, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    a, b = (torch.rand(4, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    offset = torch.tensor([dy, dx], dtype=torch.float64)
    torch.testing.assert_close(rope(q, a) @ rope(k, b).T, rope(q, a + offset) @ rope(k, b + offset).T)


def test_what_does_not_fit_is_refused() -> None:
    for dim, axes in ((7, 2), (4, 3), (8, 0)):
        with pytest.raises(ConfigError, match=rf"AxialRoPE.dim: found {dim} for {axes} axes"):
            AxialRoPE(dim, axes)
    with pytest.raises(ShapeError, match=r"coordinates: found \(4, 2\) for tokens \(5, 8\); allowed: \(..., N, 2\)"):
        AxialRoPE(8, 2)(torch.randn(5, 8), torch.rand(4, 2))
