"""Gated cross-attention between two grids: every law of the method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.nn import GatedCrossAttention, grid_coordinates

pytestmark = pytest.mark.unit

B, DQ, DK, D, HEADS = 2, 6, 10, 16, 2
FINE, COARSE = grid_coordinates(4, 4), grid_coordinates(3, 3)


def made(open_: bool = True, **options: object) -> GatedCrossAttention:
    torch.manual_seed(0)
    module = GatedCrossAttention(DQ, DK, D, HEADS, **options)  # type: ignore[arg-type]
    if open_:
        torch.nn.init.constant_(module.gate, 0.7)
    return module


@pytest.fixture
def tokens() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, 16, DQ, generator=generator), torch.randn(B, 9, DK, generator=generator)


def test_a_closed_gate_passes_the_projected_queries_bit_by_bit(tokens: tuple[Tensor, Tensor]) -> None:
    queries, keys = tokens
    module = made(open_=False)
    keys.requires_grad_()
    fused = module(queries, keys, FINE, COARSE)
    assert torch.equal(fused, module.query_norm(module.query_projection(queries)))
    assert torch.equal(fused, module(queries, torch.randn_like(keys), FINE, COARSE))
    fused.square().mul(torch.arange(D)).sum().backward()
    assert keys.grad is not None
    assert not keys.grad.any()
    assert module.gate.grad != 0  # so that the gate opens
    assert module.out.weight.grad is not None
    assert not module.out.weight.grad.any()


def dense(module: GatedCrossAttention, queries: Tensor, keys: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """The method's equation, one head at a time."""
    s, d = module.query_norm(module.query_projection(queries)), module.key_norm(module.key_projection(keys))
    width = D // HEADS
    seen = torch.cdist(places[0], places[1]) <= (module.radius or 2)
    found = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        q, k, v = module.query(s)[..., part], module.key(d)[..., part], module.value(d)[..., part]
        assert module.rope is not None
        scores = module.rope(q, places[0]) @ module.rope(k, places[1]).transpose(1, 2) / width**0.5
        found.append(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v)
    return s + module.gate.tanh() * module.out(torch.cat(found, -1))


@pytest.mark.parametrize("radius", [0.5, None])
def test_it_is_the_formula(tokens: tuple[Tensor, Tensor], radius: float | None) -> None:
    module = made(radius=radius)
    torch.testing.assert_close(module(*tokens, FINE, COARSE), dense(module, *tokens, (FINE, COARSE)))


def test_as_many_tokens_come_out_as_queries_went_in(tokens: tuple[Tensor, Tensor]) -> None:
    queries, _ = tokens
    for side in (1, 2, 5):
        keys = torch.randn(B, side * side, DK)
        fused = made()(queries, keys, FINE, grid_coordinates(side, side))
        assert fused.shape == (B, 16, D)
        assert torch.isfinite(fused).all()  # each query has a key, even of the coarsest grid


def test_the_order_of_keys_does_not_matter(tokens: tuple[Tensor, Tensor]) -> None:
    queries, keys = tokens
    order = torch.randperm(9)
    module = made()
    torch.testing.assert_close(
        module(queries, keys[:, order], FINE, COARSE[order]), module(queries, keys, FINE, COARSE)
    )
    assert not torch.allclose(module(queries, keys[:, order], FINE, COARSE), module(queries, keys, FINE, COARSE))


def test_places_count_by_differences(tokens: tuple[Tensor, Tensor]) -> None:
    module, offset = made(), torch.tensor([0.3, -0.2])
    torch.testing.assert_close(module(*tokens, FINE + offset, COARSE + offset), module(*tokens, FINE, COARSE))
    blind = made(rope=False, radius=None)
    assert torch.equal(blind(*tokens, FINE, COARSE), blind(*tokens, FINE.flip(0), COARSE))


def test_a_wide_radius_hides_nothing(tokens: tuple[Tensor, Tensor]) -> None:
    whole = made(radius=None)(*tokens, FINE, COARSE)
    assert torch.equal(made(radius=2**0.5)(*tokens, FINE, COARSE), whole)
    assert not torch.allclose(made(radius=1.0)(*tokens, FINE, COARSE), whole)


def test_a_vanishing_radius_leaves_each_query_its_own_cell(tokens: tuple[Tensor, Tensor]) -> None:
    queries, _ = tokens
    keys = torch.randn(B, 16, DK)
    module = made(radius=1e-4)
    s, d = module.query_norm(module.query_projection(queries)), module.key_norm(module.key_projection(keys))
    torch.testing.assert_close(module(queries, keys, FINE, FINE), s + module.gate.tanh() * module.out(module.value(d)))


def test_crops_are_each_for_themselves_and_their_number_cancels() -> None:
    crops = 3
    queries, keys = torch.randn(B, crops, 16, DQ), torch.randn(B, crops, 9, DK)
    places = grid_coordinates(4, 4, crops), grid_coordinates(3, 3, crops)
    module = made(axes=3)
    fused = module(queries, keys, *places)
    assert fused.shape == (B, crops, 16, D)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(module(queries[:, order], keys[:, order], *places), fused[:, order])
    for crop in range(crops):
        alone = module(queries[:, crop], keys[:, crop], places[0][0], places[1][0])
        torch.testing.assert_close(alone, fused[:, crop])


def test_what_does_not_fit_is_refused(tokens: tuple[Tensor, Tensor]) -> None:
    queries, keys = tokens
    for options, text in (
        ({"dim": 10, "heads": 4}, "GatedCrossAttention.dim: found 10; allowed: multiples of heads=4"),
        ({"dim": 8, "heads": 2, "axes": 1}, "GatedCrossAttention.axes: found 1"),
        ({"dim": 8, "heads": 2, "radius": 0.0}, "GatedCrossAttention.radius: found 0.0"),
    ):
        with pytest.raises(ConfigError, match=text):
            GatedCrossAttention(DQ, DK, **options)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"keys: found shape \(1, 9, 10\); allowed: \(2, 'M', 'D'\)"):
        made()(queries, keys[:1], FINE, COARSE)
    with pytest.raises(ShapeError, match=r"key_places: found shape \(16, 2\); allowed: \(..., 9, 2\)"):
        made()(queries, keys, FINE, FINE)
