"""Retrieval between modalities against the general retrieval, by hand, and against the exact chance."""

from __future__ import annotations

from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation import cross_modal as module
from counterpoint.evaluation.cross_modal import chance_recall, cross_modal_retrieval, first_ranks, recall_at
from counterpoint.evaluation.retrieval import retrieval

pytestmark = pytest.mark.unit


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def groups(count: int, different: int, seed: int) -> Tensor:
    return torch.randint(different, (count,), generator=torch.Generator().manual_seed(seed))


def pairs(mine: Tensor, theirs: Tensor) -> Tensor:
    """Rows of one group, each with each."""
    return (mine[:, None] == theirs).nonzero()


@pytest.mark.parametrize("tile", [1, 300, 4_000_000])
def test_both_ways_agree_with_the_general_retrieval(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SCORES", tile)
    images, texts, mine, theirs = gaussian(40, 6), gaussian(70, 6, seed=1), groups(40, 15, 2), groups(70, 15, 3)
    shuffled = pairs(mine, theirs)
    shuffled = shuffled[torch.randperm(len(shuffled), generator=torch.Generator().manual_seed(0))]
    found = cross_modal_retrieval(images, texts, shuffled)
    for k in (1, 5, 10):
        there = retrieval(images, mine, texts, theirs, ks=[k])[f"recall@{k}"]
        back = retrieval(texts, theirs, images, mine, ks=[k])[f"recall@{k}"]
        assert found[f"recall@{k},image-to-text"] == pytest.approx(there)
        assert found[f"recall@{k},text-to-image"] == pytest.approx(back)
        assert found[f"recall@{k}"] == pytest.approx((there + back) / 2)


def test_any_text_of_a_picture_counts_and_any_picture_of_a_text() -> None:
    east, north, west = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 0.0])
    images = torch.stack([east, north, east])
    texts = torch.stack([west, east, north])
    right = torch.tensor([[0, 0], [0, 1], [2, 0], [2, 1], [1, 2], [0, 1]])  # a pair that is told twice counts once
    assert first_ranks(images, texts, right).tolist() == [1, 1, 1]
    assert first_ranks(texts, images, right.flip(1)).tolist() == [2, 1, 1]  # west: north is nearer than both easts
    assert cross_modal_retrieval(images, texts, right, names=("a", "b"), ks=[1, 2]) == {
        "recall@1": pytest.approx(5 / 6),
        "recall@2": 1.0,
        "recall@1,a-to-b": 1.0,
        "recall@2,a-to-b": 1.0,
        "recall@1,b-to-a": pytest.approx(2 / 3),
        "recall@2,b-to-a": 1.0,
    }


def test_equal_scores_go_by_the_order_of_the_gallery() -> None:
    same = torch.ones(6, 3)
    assert first_ranks(same, same, torch.arange(6)[:, None].expand(6, 2)).tolist() == [1, 2, 3, 4, 5, 6]
    assert first_ranks(same[:1], same, torch.tensor([[0, 4], [0, 2]])).tolist() == [3]
    lower_in_front = torch.cat([torch.eye(3)[:1], same])
    assert first_ranks(same[:1], lower_in_front, torch.tensor([[0, 3]])).tolist() == [3]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6))
def test_ranks_are_those_of_a_stable_sort(n: int, m: int, different: int, seed: int) -> None:
    queries, gallery = gaussian(n, 2, seed=seed).round(), gaussian(m, 2, seed=seed + 1).round()  # many ties
    mine, theirs = groups(n, different, seed), groups(m, different, seed + 1)
    unit = torch.nn.functional.normalize
    scores = unit(queries, dim=1) @ unit(gallery, dim=1).T
    order = scores.argsort(dim=1, descending=True, stable=True)
    hits = theirs[order] == mine[:, None]
    expected = torch.where(hits.any(dim=1), hits.long().argmax(dim=1) + 1, 0)
    assert first_ranks(queries, gallery, pairs(mine, theirs)).tolist() == expected.tolist()


def test_queries_without_a_right_answer_do_not_count() -> None:
    ranks = first_ranks(torch.eye(3), torch.eye(3), torch.tensor([[0, 0], [2, 2]]))
    assert ranks.tolist() == [1, 0, 1]
    assert recall_at(ranks, 1) == 1.0
    with pytest.raises(ShapeError, match="no query with a right answer"):
        cross_modal_retrieval(torch.eye(3), torch.eye(3), torch.empty(0, 2, dtype=torch.int64))


def test_chance_is_what_random_orders_give() -> None:
    mine, theirs = torch.arange(12).repeat_interleave(2), groups(60, 13, 4)  # group 12 has no picture
    right = pairs(mine, theirs)
    expected = chance_recall((24, 60), torch.cat([right, right[:9]]), ks=[5])
    draws = [
        cross_modal_retrieval(gaussian(24, 9, seed=s), gaussian(60, 9, seed=s + 999), right, ks=[5]) for s in range(150)
    ]
    for name, value in expected.items():
        assert sum(d[name] for d in draws) / len(draws) == pytest.approx(value, abs=0.02), name
    three = torch.tensor([[0, 9], [0, 11], [0, 30]])
    one = chance_recall((1, 60), three, ks=[5, 60])
    assert one["recall@5,image-to-text"] == pytest.approx(1 - comb(57, 5) / comb(60, 5))
    assert one["recall@60,image-to-text"] == one["recall@5,text-to-image"] == 1.0


def test_odd_inputs_are_named() -> None:
    x, own = torch.eye(3), torch.arange(3)[:, None].expand(3, 2)
    with pytest.raises(
        ShapeError, match=r"right: found rows \[0, 0\] to \[2, 2\]; allowed: rows from 0, below 3 and 2"
    ):
        first_ranks(x, x[:2], own)
    with pytest.raises(ShapeError, match=r"right: found shape \(3,\)"):
        first_ranks(x, x, torch.arange(3))
    with pytest.raises(ShapeError, match="gallery: found 0 rows"):
        first_ranks(x, x[:0], own[:0])
    with pytest.raises(ShapeError, match="queries: found NaN or infinity in row 1"):
        first_ranks(torch.tensor([[1.0, 0, 0], [0, torch.nan, 0]]), x, own[:2])
    with pytest.raises(ConfigError, match="k: found 0"):
        cross_modal_retrieval(x, x, own, ks=[0])
    assert first_ranks(x[:0], x, own[:0]).tolist() == []
