"""LARS against the plain formula, step by step, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError
from counterpoint.nn import LARS

pytestmark = pytest.mark.unit

LR, MOMENTUM, DECAY, TRUST = 0.7, 0.9, 0.05, 0.02


def plain_step(w: Tensor, g: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The formula in numbers: adaptive for matrices, SGD without decay for vectors."""
    u = g
    if w.ndim > 1:
        u = g + DECAY * w
        u = TRUST * float(w.square().sum() ** 0.5) / float(u.square().sum() ** 0.5) * u
    v = MOMENTUM * v + u
    return w - LR * v, v


def test_it_is_the_plain_formula() -> None:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(4, 3).double()), nn.Parameter(torch.randn(4).double())]
    optimizer = LARS(parameters, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, trust=TRUST)
    expected = [(p.detach().clone(), torch.zeros_like(p)) for p in parameters]
    for _ in range(4):
        gradients = [torch.randn_like(p) for p in parameters]
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        optimizer.step()
        expected = [plain_step(w, g, v) for (w, v), g in zip(expected, gradients)]
        for parameter, (w, _) in zip(parameters, expected):
            torch.testing.assert_close(parameter.detach(), w, rtol=1e-12, atol=1e-12)


def test_the_step_of_a_matrix_does_not_know_the_gradients_length() -> None:
    ends = []
    for factor in (1.0, 1000.0):
        weight = nn.Parameter(torch.arange(6.0).view(2, 3))
        weight.grad = factor * torch.ones(2, 3)
        LARS([weight], lr=0.1).step()
        ends.append(weight.detach())
    torch.testing.assert_close(ends[0], ends[1])


def test_a_zero_matrix_can_leave_zero_and_a_zero_gradient_moves_nothing() -> None:
    zero = nn.Parameter(torch.zeros(2, 2))
    zero.grad = torch.ones(2, 2)
    still = nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    LARS([zero, still], lr=0.1, momentum=0.0).step()
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), -0.1))
    assert torch.equal(still.detach(), torch.ones(2, 2))


def test_a_parameter_without_gradient_is_passed_over() -> None:
    frozen, moving = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moving.grad = torch.ones(2, 2)
    LARS([frozen, moving], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(frozen.detach(), torch.ones(2, 2))
    assert not torch.equal(moving.detach(), torch.ones(2, 2))


def test_a_closure_is_called_with_gradients() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([weight], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.detach().max() < 1


def test_state_round_trip_continues_bitwise() -> None:
    torch.manual_seed(0)
    first, gradients = nn.Parameter(torch.randn(3, 3)), [torch.randn(3, 3) for _ in range(4)]
    optimizer = LARS([first], lr=0.1)
    for gradient in gradients[:2]:
        first.grad = gradient
        optimizer.step()
    second = nn.Parameter(first.detach().clone())
    resumed = LARS([second], lr=9.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in gradients[2:]:
        first.grad, second.grad = gradient, gradient.clone()
        optimizer.step()
        resumed.step()
    assert torch.equal(first, second)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"momentum": 1.0}, {"weight_decay": -1.0}, {"trust": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"LARS: found .*allowed: lr, weight_decay >= 0"):
        LARS([nn.Parameter(torch.ones(1))], **{"lr": 0.1, **wrong})
