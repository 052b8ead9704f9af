"""Parts are computed when one is read, once, and keep what was set before."""

from __future__ import annotations

import pytest
import torch

from counterpoint.objectives import InfoNCE, NTXent, Sigmoid, SupCon
from counterpoint.objectives.base import Parts

pytestmark = pytest.mark.unit


def test_parts_are_computed_at_the_first_reading_and_once() -> None:
    calls: list[int] = []

    def later() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}

    parts = Parts(later)
    parts["temperature"] = torch.tensor(0.5)
    parts["b"] = torch.tensor(3.0)
    assert not calls
    assert dict(parts) == {"a": 1.0, "b": 3.0, "temperature": 0.5}
    del parts["a"]
    assert len(parts) == 2 and "a" not in parts and repr(parts)
    assert calls == [1]


@pytest.mark.parametrize("make", [NTXent, InfoNCE, Sigmoid, SupCon])
def test_parts_do_not_change_when_they_are_read_after_the_backward_pass(make: type) -> None:
    """The gradient is written over what the loss was computed from; the parts must not be."""
    rows = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    views = [rows[0] + rows[1], rows[0] + rows[2]]
    before = dict(make(0.2)(views).parts)  # no gradient is wanted here
    result = make(0.2)([view.clone().requires_grad_() for view in views])
    result.loss.backward()
    assert set(result.parts) == set(before)
    for name, value in before.items():
        torch.testing.assert_close(result.parts[name].detach(), value.detach(), rtol=1e-12, atol=0)
