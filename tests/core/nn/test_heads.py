"""Heads: shapes, what is in them, and what they refuse."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from counterpoint.errors import ConfigError
from counterpoint.nn import DINOHead, Predictor, Projector

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("last_norm", [True, False])
def test_a_projector_has_its_layers(layers: int, norm: bool, last_norm: bool) -> None:
    projector = Projector(6, hidden_dim=10, out_dim=4, layers=layers, norm=norm, last_norm=last_norm)
    assert projector(torch.randn(5, 6)).shape == (5, 4)
    assert projector.out_dim == 4
    kinds = [type(m) for m in projector.modules()]
    assert kinds.count(nn.Linear) == layers
    assert kinds.count(nn.ReLU) == layers - 1
    assert kinds.count(nn.BatchNorm1d) == norm * (layers - 1) + last_norm


def test_a_bias_stands_only_where_no_batch_norm_would_take_it_away() -> None:
    linears = [m for m in Projector(6, layers=3, last_norm=True).modules() if isinstance(m, nn.Linear)]
    assert [m.bias is None for m in linears] == [True, True, True]
    linears = [m for m in Projector(6, layers=3, norm=False).modules() if isinstance(m, nn.Linear)]
    assert [m.bias is None for m in linears] == [False, False, False]


def test_the_last_norm_standardises_each_dimension() -> None:
    out = Projector(6, last_norm=True)(torch.randn(64, 6))
    torch.testing.assert_close(out.mean(0), torch.zeros(128), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(128), atol=1e-2, rtol=0)


def test_a_predictor_keeps_the_width() -> None:
    predictor = Predictor(6, hidden_dim=3)
    assert predictor(torch.randn(5, 6)).shape == (5, 6)
    assert predictor.out_dim == 6


@pytest.mark.parametrize("norm", [True, False])
def test_the_dino_head_gives_cosines_to_unit_rows_and_keeps_its_gain(norm: bool) -> None:
    torch.manual_seed(0)
    head = DINOHead(6, prototypes=20, hidden_dim=16, bottleneck_dim=8, norm=norm)
    assert sum(isinstance(m, nn.BatchNorm1d) for m in head.modules()) == 2 * norm
    optimizer = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        logits = head(100 * torch.randn(5, 6))
        assert logits.shape == (5, 20)
        assert logits.abs().max() <= 1 + 1e-5
        optimizer.zero_grad()
        logits.logsumexp(1).sum().backward()
        optimizer.step()
        torch.testing.assert_close(head.last.weight.norm(dim=1), torch.ones(20))
    assert head.out_dim == 20


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (partial(Projector, 0), "Projector.in_dim: found 0; allowed: a whole number from 1."),
        (partial(Projector, 4, hidden_dim=0), "Projector.hidden_dim: found 0"),
        (partial(Projector, 4, out_dim=-1), "Projector.out_dim: found -1"),
        (partial(Projector, 4, layers=0), "Projector.layers: found 0"),
        (partial(Predictor, 4, hidden_dim=0), "Predictor.hidden_dim: found 0"),
        (partial(DINOHead, 4, prototypes=0), "DINOHead.prototypes: found 0; allowed: a whole number from 1."),
        (partial(DINOHead, 4, bottleneck_dim=0), "DINOHead.bottleneck_dim: found 0"),
    ],
)
def test_widths_below_one_are_refused(make: partial[nn.Module], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert expected in str(caught.value)
