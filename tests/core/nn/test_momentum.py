"""The momentum twin: the formula, the schedule, and what it must not do."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from counterpoint.errors import ConfigError
from counterpoint.nn import MomentumTwin

pytestmark = pytest.mark.unit


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def disturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize("momentum", [0.0, 0.4, 0.996, 1.0])
def test_it_follows_by_the_formula(momentum: float) -> None:
    online = network()
    twin = MomentumTwin(online, momentum, momentum)
    expected = [p.detach().clone().double() for p in online.parameters()]
    for _ in range(3):
        disturb(online)
        twin.follow(online, total_steps=10)
        expected = [momentum * e + (1 - momentum) * p.detach().double() for e, p in zip(expected, online.parameters())]
    for own, wanted in zip(twin.module.parameters(), expected):
        torch.testing.assert_close(own.double(), wanted, rtol=1e-6, atol=1e-6)


def test_momentum_one_never_moves_and_zero_is_a_copy() -> None:
    online = network()
    still, copied = MomentumTwin(online, 1.0, 1.0), MomentumTwin(online, 0.0, 0.0)
    before = copy.deepcopy(still.module.state_dict())
    disturb(online)
    for twin in (still, copied):
        twin.follow(online, 10)
    assert all(torch.equal(p, before[name]) for name, p in still.module.named_parameters())
    assert all(torch.equal(p, q) for p, q in zip(copied.module.parameters(), online.parameters()))


def test_the_rate_rises_along_half_a_cosine() -> None:
    online = network()
    twin = MomentumTwin(online, 0.9, 1.0)
    rates = []
    for _ in range(11):
        rates.append(twin.at(10))
        twin.follow(online, 10)
    assert rates[0] == pytest.approx(0.9, abs=1e-12)
    assert rates[10] == pytest.approx(1.0, abs=1e-12)
    expected = [1 - 0.1 * (math.cos(math.pi * k / 10) + 1) / 2 for k in range(11)]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert twin.at(10) == pytest.approx(1.0, abs=1e-12)  # and stays there


def test_equal_ends_are_constant() -> None:
    online = network()
    twin = MomentumTwin(online, 0.99, 0.99)
    rates = set()
    for _ in range(4):
        rates.add(twin.at(4))
        twin.follow(online, 4)
    assert rates == {0.99}


def test_buffers_are_copied() -> None:
    online = network()
    twin = MomentumTwin(online, 0.99)
    for _ in range(2):
        online(5 + torch.randn(6, 3))
    twin.follow(online, 10)
    assert int(twin.module[1].num_batches_tracked) == 2
    torch.testing.assert_close(twin.module[1].running_mean, online[1].running_mean, rtol=0, atol=0)
    torch.testing.assert_close(twin.module[1].running_var, online[1].running_var, rtol=0, atol=0)


def test_it_has_no_gradient_and_shares_no_memory() -> None:
    online = network()
    twin = MomentumTwin(online)
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in online.parameters())
    assert {p.data_ptr() for p in online.parameters()}.isdisjoint(p.data_ptr() for p in twin.parameters())
    online(torch.randn(4, 3)).sum().backward()
    twin.follow(online, 10)
    assert all(p.grad is None and not p.requires_grad for p in twin.parameters())


def test_state_round_trip_goes_on_where_it_was() -> None:
    online = network()
    first, second = MomentumTwin(online, 0.5), MomentumTwin(network(), 0.5)
    for _ in range(3):
        disturb(online)
        first.follow(online, 7)
    second.load_state_dict(first.state_dict())
    assert second.at(7) == first.at(7) != second.momentum
    disturb(online)
    for twin in (first, second):
        twin.follow(online, 7)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize(("momentum", "final"), [(-0.1, 1.0), (1.1, 1.0), (0.9, 2.0)])
def test_rates_out_of_range_are_refused(momentum: float, final: float) -> None:
    with pytest.raises(ConfigError, match=r"momentum: found .*allowed: .* from 0 to 1"):
        MomentumTwin(network(), momentum, final)
