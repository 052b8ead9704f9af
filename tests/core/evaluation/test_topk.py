"""The grouped top-k against a stable sort of the whole row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.evaluation._topk import topk

pytestmark = pytest.mark.unit


def by_sorting(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, indices = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 5),
    width=st.integers(1, 300),
    share=st.floats(0, 1),
    levels=st.sampled_from([1, 2, 5, 40, 100_000]),
    seed=st.integers(0, 1000),
)
def test_equals_a_stable_sort_with_any_number_of_ties(
    rows: int, width: int, share: float, levels: int, seed: int
) -> None:
    k = max(1, round(share * width))
    draw = torch.randint(levels, (rows, width), generator=torch.Generator().manual_seed(seed))
    scores = draw.float() - levels / 2
    values, indices = topk(scores, k)
    expected = by_sorting(scores, k)
    assert torch.equal(values, expected[0])
    assert torch.equal(indices, expected[1])


@pytest.mark.parametrize("width", [4096, 4097, 4098, 4099])
def test_columns_that_fill_no_group_are_found(width: int) -> None:
    scores = torch.zeros(2, width)
    scores[0, width - 1], scores[0, 0], scores[1, width - 2] = 2.0, 1.0, 3.0
    assert topk(scores, 2)[1].tolist() == [[width - 1, 0], [width - 2, 0]]


def test_several_levels_of_groups_and_minus_infinity() -> None:
    scores = torch.randn(7, 20_000, generator=torch.Generator().manual_seed(0))
    scores[:, ::3] = -torch.inf
    values, indices = topk(scores, 11)
    expected = by_sorting(scores, 11)
    assert torch.equal(values, expected[0])
    assert torch.equal(indices, expected[1])


def test_ties_in_many_rows_are_settled_in_chunks() -> None:
    scores = torch.zeros(130, 50)
    assert torch.equal(topk(scores, 3)[1], torch.arange(3).expand(130, 3))


def test_a_strided_input_is_read_right() -> None:
    scores = torch.randn(4, 600, generator=torch.Generator().manual_seed(1))
    assert torch.equal(topk(scores[:, ::2], 5)[1], by_sorting(scores[:, ::2].contiguous(), 5)[1])
