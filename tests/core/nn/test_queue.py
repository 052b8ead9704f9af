"""The queue: first in, first out; never a row that was not written."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.nn import Queue

pytestmark = pytest.mark.unit


def numbered(start: int, count: int) -> torch.Tensor:
    """Rows that are their own number, from 1 on."""
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].expand(count, 2) + 1


def test_it_fills_gradually_and_then_is_full() -> None:
    queue = Queue(5, 2)
    rows, ids = queue.get()
    assert rows.shape == (0, 2)
    assert ids.shape == (0,)
    assert len(queue) == 0
    assert not queue.full
    queue.put(numbered(0, 3), torch.tensor([10, 11, 12]))
    rows, ids = queue.get()
    assert rows[:, 0].tolist() == [1, 2, 3]
    assert ids.tolist() == [10, 11, 12]
    assert (len(queue), queue.full) == (3, False)
    queue.put(numbered(3, 2), torch.tensor([13, 14]))
    assert (len(queue), queue.full) == (5, True)


def test_it_wraps_over_the_oldest() -> None:
    queue = Queue(5, 2)
    for start in (0, 3, 6):
        queue.put(numbered(start, 3), torch.arange(start, start + 3))
    rows, ids = queue.get()
    assert sorted(ids.tolist()) == [4, 5, 6, 7, 8]
    assert torch.equal(rows[:, 0], ids + 1.0)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 9), counts=st.lists(st.integers(0, 14), max_size=6))
def test_it_holds_the_last_rows_whatever_comes(size: int, counts: list[int]) -> None:
    queue, total = Queue(size, 2), 0
    for count in counts:
        queue.put(numbered(total, count), torch.arange(total, total + count))
        total += count
    rows, ids = queue.get()
    assert sorted(ids.tolist()) == list(range(max(0, total - size), total))
    assert torch.equal(rows[:, 0], ids + 1.0)
    assert (rows > 0).all()
    assert len(queue) == len(rows) == min(size, total)


def test_rows_without_ids_get_ids_that_no_content_has() -> None:
    queue = Queue(4, 2)
    queue.put(numbered(0, 3))
    assert queue.get()[1].tolist() == [-1, -1, -1]


def test_what_is_given_out_and_taken_in_is_a_copy_without_gradient() -> None:
    queue = Queue(4, 2)
    source = numbered(0, 2).clone().requires_grad_()
    queue.put(source)
    rows, _ = queue.get()
    assert not rows.requires_grad
    kept = rows.clone()
    rows.zero_()
    with torch.no_grad():
        source.zero_()
    assert torch.equal(queue.get()[0], kept)
    before = queue.get()[0]
    queue.put(numbered(7, 4))
    assert torch.equal(before, kept)


def test_state_round_trip_in_the_middle_of_a_turn() -> None:
    first, second = Queue(5, 2), Queue(5, 2)
    for start in (0, 4):
        first.put(numbered(start, 4), torch.arange(start, start + 4))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.put(numbered(8, 2), torch.tensor([8, 9]))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert first.get()[1].tolist() == second.get()[1].tolist() == [5, 6, 7, 8, 9]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"found 0; allowed: a whole number from 1"):
        Queue(0, 2)
    with pytest.raises(ShapeError, match=r"rows: found \(3, 4\); allowed: \(B, 2\)"):
        Queue(5, 2).put(torch.randn(3, 4))
    with pytest.raises(ShapeError, match=r"ids: found \(2,\); allowed: \(3,\)"):
        Queue(5, 2).put(torch.randn(3, 2), torch.tensor([1, 2]))
