"""Heads that answer: what standardising changes, and what it does not."""

from __future__ import annotations

import pytest
import torch

from counterpoint.nn.answers import LEAST_SPREAD, ClassHead, NumberHead

pytestmark = pytest.mark.unit


def features() -> torch.Tensor:
    scale = torch.tensor([1e-3, 1.0, 0.0])
    return torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * scale + torch.tensor([5.0, -2.0, 3.0])


def test_a_class_head_sees_standardised_features() -> None:
    head, x = ClassHead(3, 4), features()
    head.standardise(x)
    torch.testing.assert_close(head.center, x.mean(0))
    typical = float(x.std(0, correction=0).square().mean().sqrt())
    assert head.scale[1] == pytest.approx(float(x[:, 1].std(correction=0)))
    assert head.scale[0] == head.scale[2] == pytest.approx(LEAST_SPREAD * typical), "noise is not blown up"
    torch.testing.assert_close(head(x), head.linear((x - head.center) / head.scale))
    assert head(x).shape == (200, 4)


def test_features_that_do_not_vary_keep_the_scale() -> None:
    head = ClassHead(3, 2)
    head.standardise(torch.full((5, 3), 7.0))
    assert head.scale.tolist() == [1, 1, 1] and head.center.tolist() == [7, 7, 7]


def test_a_number_head_answers_in_the_unit_of_the_targets() -> None:
    head, x = NumberHead(3, mean=100.0, std=20.0), features()
    head.standardise(x)
    torch.testing.assert_close(head(x), head.standardised(x) * 20 + 100)
    weight = torch.tensor([2.0, -1.0, 0.5])
    head.set(weight, 3.0)
    torch.testing.assert_close(head(x), x @ weight + 3.0, rtol=1e-4, atol=1e-3)
