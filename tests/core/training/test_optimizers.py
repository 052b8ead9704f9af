"""Warm-up and cosine by their end points, groups without decay, and each optimiser against its formula."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
import torch
from torch import nn

from counterpoint.methods import SimCLR
from counterpoint.training.optimizers import build_optimizer, configure, rate
from counterpoint.training.settings import Optimization, OptimizerName
from toy import DigitNet

pytestmark = pytest.mark.unit


def test_schedule_end_points() -> None:
    plan = Optimization(warmup=0.1, final_lr=0.02)
    rates = [rate(step, 100, plan) for step in range(101)]
    assert 0 < rates[0] < rates[1] < 0.2
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.51)
    assert rates[100] == pytest.approx(0.02)
    assert rates[99] == pytest.approx(0.02, abs=1e-3)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    steps = [b - a for a, b in itertools.pairwise(rates[:11])]
    assert max(steps) == pytest.approx(min(steps)), "warm-up is linear"
    assert rate(500, 100, plan) == pytest.approx(0.02), "past the end it stays"


@pytest.mark.parametrize(("warmup", "total"), [(0.0, 10), (0.0, 1), (1.0, 10), (0.5, 1), (0.05, 3)])
def test_schedule_at_the_limits(warmup: float, total: int) -> None:
    plan = Optimization(warmup=warmup)
    rates = [rate(step, total, plan) for step in range(total)]
    assert all(0 < value <= 1 for value in rates)
    if warmup == 0:
        assert rates[0] == 1.0


def method(optimization: Optimization, total: int = 10) -> Any:
    torch.manual_seed(0)
    made = SimCLR(DigitNet())
    made.total_steps = total
    return made, configure(made, optimization)


def test_groups_biases_and_norms_do_not_decay() -> None:
    made, configured = method(Optimization(weight_decay=0.3))
    optimizer = configured["optimizer"]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == {id(p) for p in made.parameters() if p.requires_grad}
    for name, parameter in made.named_parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name
    assert len({decay[id(p)] for p in made.parameters()}) == 2


def test_the_schedule_moves_with_each_step() -> None:
    _, configured = method(Optimization(lr=0.5, warmup=0.2, name="sgd"))
    optimizer, entry = configured["optimizer"], configured["lr_scheduler"]
    assert entry["interval"] == "step"
    seen = []
    for _ in range(10):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        entry["scheduler"].step()
    assert seen == pytest.approx([0.5 * rate(step, 10, Optimization(warmup=0.2)) for step in range(10)])


def one_step(name: str) -> float:
    weight = nn.Parameter(torch.full((1, 1), 2.0))
    optimizer = build_optimizer([{"params": [weight]}], Optimization(name=name, lr=0.1, weight_decay=0.5))  # type: ignore[arg-type]
    weight.grad = torch.full((1, 1), 3.0)
    optimizer.step()
    return float(weight.detach())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", 2 * (1 - 0.1 * 0.5) - 0.1),  # decay by the rate, then a step of the sign
        ("adam", 2 - 0.1),  # the decay is part of the gradient, whose size does not matter
        ("sgd", 2 - 0.1 * (3 + 0.5 * 2)),
    ],
)
def test_first_step_of_each(name: str, expected: float) -> None:
    assert one_step(name) == pytest.approx(expected, rel=1e-6)


def test_first_step_of_lars() -> None:
    """Trust ratio: a step has a fixed share of the weight's own length, whatever the gradient's is."""
    moved = [2 - one_step("lars")]
    weight = nn.Parameter(torch.full((1, 1), 2.0))
    optimizer = build_optimizer([{"params": [weight]}], Optimization(name="lars", lr=0.1, weight_decay=0.0))
    weight.grad = torch.full((1, 1), 3000.0)
    optimizer.step()
    moved.append(2 - float(weight.detach()))
    assert 0 < moved[0] < 0.1
    assert moved[1] == pytest.approx(0.1 * 0.001 * 2, rel=1e-3)


def test_sgd_and_lars_take_the_momentum() -> None:
    for name in ("sgd", "lars"):
        optimizer = build_optimizer([{"params": [nn.Parameter(torch.ones(1))]}], Optimization(name=name, momentum=0.7))  # type: ignore[arg-type]
        assert optimizer.param_groups[0]["momentum"] == 0.7


def test_adamw_and_adam_take_the_betas() -> None:
    """Without memory (betas of 0) every step is one of the sign, whatever came before; by default it is not."""
    for name in ("adamw", "adam"):
        moved = {}
        for betas in ((0.0, 0.0), Optimization().betas):
            weight = nn.Parameter(torch.ones(1))
            plan = Optimization(name=name, lr=0.1, weight_decay=0.0, betas=betas)  # type: ignore[arg-type]
            optimizer = build_optimizer([{"params": [weight]}], plan)
            for gradient in (5.0, -0.1):
                before = weight.item()
                weight.grad = torch.full((1,), gradient)
                optimizer.step()
            moved[betas] = weight.item() - before
        assert moved[0.0, 0.0] == pytest.approx(0.1)
        assert moved[0.9, 0.999] < 0


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_each_learns(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 1, bias=False)
    inputs = torch.randn(64, 4)
    target = inputs @ torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    plan = Optimization(name=name, lr=20 if name == "lars" else 0.05)  # type: ignore[arg-type]
    optimizer = build_optimizer([{"params": list(net.parameters())}], plan)
    losses = []
    for _ in range(60):
        loss = (net(inputs) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert math.isfinite(losses[-1])
    assert losses[-1] < 0.3 * losses[0]
