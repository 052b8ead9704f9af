"""What has rows, what can be joined, and that cutting and joining lose nothing."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.nn import rows

pytestmark = pytest.mark.unit

X, Y = torch.arange(15.0).view(5, 3), torch.arange(5)


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(p, q) for p, q in zip(rows.tensors(a), rows.tensors(b), strict=True))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (X, 5),
        ({"ids": X, "mask": Y}, 5),
        (UserDict(ids=X, mask=Y), 5),
        ((X, {"more": Y}), 5),
        ([X[:2], X[:1], X], 3),
        (torch.tensor(1.0), None),
        ({"ids": X, "other": Y[:2]}, None),
        ({"ids": X, "name": "text"}, None),
        ({}, None),
        ([], None),
        ([1, 2], None),
        (object(), None),
        ("text", None),
    ],
)
def test_the_number_of_rows(data: Any, expected: int | None) -> None:
    assert rows.count(data) == expected


def test_only_equal_layouts_are_joined() -> None:
    assert rows.layout(X) == rows.layout(X + 1)
    assert rows.layout({"a": X, "b": Y}) == rows.layout({"a": X + 1, "b": Y + 1})
    unlike: list[Any] = [X, X[:, :2], X.double(), (X,), {"a": X}, {"b": X}, (X, Y), (Y, X)]
    assert len({rows.layout(data) for data in unlike}) == len(unlike)
    for whole in ([X, X], object(), {"a": X, "b": Y[:2]}, torch.tensor(1.0)):
        assert rows.layout(whole) is None


@given(size=st.integers(1, 7), kind=st.sampled_from(["tensor", "dictionary", "tuple"]))
def test_cut_and_joined_is_the_same_data(size: int, kind: str) -> None:
    data: Any = {"tensor": X, "dictionary": {"ids": X, "mask": (Y, X)}, "tuple": (X, {"mask": Y})}[kind]
    pieces = rows.cut(data, size)
    assert [rows.count(piece) for piece in pieces] == [min(size, 5 - start) for start in range(0, 5, size)]
    assert same(rows.join(pieces), data)
    assert type(pieces[0]) is type(data)


def test_lists_are_cut_into_lists() -> None:
    data = [X[:2], X[:1], X]
    assert [len(piece) for piece in rows.cut(data, 2)] == [2, 1]
    assert torch.equal(rows.cut(data, 2)[1][0], X)


def test_other_tensors_in_the_same_places() -> None:
    data = {"ids": X, "mask": (Y, [X, Y])}
    doubled = rows.rebuilt(data, iter([2 * tensor for tensor in rows.tensors(data)]))
    assert torch.equal(doubled["mask"][1][0], 2 * X)
    assert same(rows.rebuilt(doubled, iter(rows.tensors(data))), data)
