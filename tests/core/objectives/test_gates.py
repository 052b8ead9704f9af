"""Gates of pairs of classes: symmetric, bounded, of the labels alone."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import PairGate

pytestmark = pytest.mark.unit

KINDS = ("sigmoid", "product", "gumbel", "stochastic", "open")


def pairs(size: int = 64) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(6, (2, size), generator=torch.Generator().manual_seed(0))
    return drawn[0], drawn[1]


@pytest.mark.parametrize("kind", KINDS)
def test_symmetric_and_bounded(kind: str) -> None:
    torch.manual_seed(0)
    gate, (a, b) = PairGate(6, 8, kind=kind), pairs()
    for training in (True, False):
        gate.train(training)
        torch.manual_seed(1)
        there = gate(a, b)
        torch.manual_seed(1)
        back = gate(b, a)
        torch.testing.assert_close(there, back, rtol=1e-5, atol=1e-6)
        assert there.shape == (64, 8) and there.min() >= 0 and there.max() <= 1
        assert kind in ("open", "stochastic") or (there.min() > 0 and there.max() < 1)
    torch.testing.assert_close(gate(a, b), there)  # nothing is drawn in evaluation
    assert (kind == "open") == torch.equal(there, torch.ones(64, 8))
    same = (a[:, None] == a) & (b[:, None] == b)
    for i, j in same.nonzero().tolist():
        torch.testing.assert_close(there[i], there[j])


@pytest.mark.parametrize("kind", ["gumbel", "stochastic"])
def test_noise_is_drawn_in_training(kind: str) -> None:
    torch.manual_seed(0)
    gate, (a, b) = PairGate(6, 8, kind=kind), pairs()
    assert not torch.equal(gate(a, b), gate(a, b))
    if kind == "stochastic":
        assert (gate(a, b) == 0).any() and (gate(a, b) == 1).any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "open"])
def test_every_weight_learns(kind: str) -> None:
    torch.manual_seed(0)
    gate, (a, b) = PairGate(6, 8, kind=kind), pairs()
    (gate(a, b) * torch.randn(64, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gate.parameters())
    assert not list(PairGate(6, 8, kind="open").parameters())


def test_refusals() -> None:
    def refused(text: str, **words: object) -> None:
        with pytest.raises(ConfigError, match=re.escape(text)):
            PairGate(**{"classes": 6, **words})

    refused("PairGate.classes: found 1; allowed: a whole number from 2", classes=1)
    refused("PairGate.embedding: found 0; allowed: a whole number from 1", embedding=0)
    refused("PairGate.kind: found 'sigmoyd'", kind="sigmoyd")
    gate = PairGate(6, 8)
    with pytest.raises(ShapeError, match=re.escape("class: found 6; allowed: from 0 to 5. Set classes")):
        gate(torch.tensor([0, 6]), torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match=re.escape("classes of a pair: found (2,) and (3,)")):
        gate(torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
