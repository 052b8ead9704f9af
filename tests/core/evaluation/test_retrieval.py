"""Retrieval against rankings worked out by hand and by scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation import retrieval as module
from counterpoint.evaluation.retrieval import (
    average_precision,
    hit_ranks,
    metrics_from_ranks,
    retrieval,
    trapezoidal_precision,
    view_retrieval,
)

pytestmark = pytest.mark.unit


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clusters(n: int, classes: int = 5, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    y = torch.arange(n) % classes
    return gaussian(classes, 8, seed=77)[y] + spread * gaussian(n, 8, seed=seed), y


def test_a_perfect_ranking_is_one_everywhere() -> None:
    found = retrieval(*clusters(10, spread=0.01), *clusters(40, spread=0.01, seed=1), ks=[1, 8])
    expected = dict.fromkeys(found, 1.0) | {"queries": 10.0, "true_recall@1": 1 / 8}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("r", [1, 2, 3, 7])
def test_one_relevant_row_at_rank_r(r: int) -> None:
    scores = -np.arange(10, dtype=np.float32)
    ranks = hit_ranks(scores, np.arange(10) == r - 1)
    assert ranks.tolist() == [r]
    assert average_precision(ranks) == pytest.approx(1 / r)
    assert trapezoidal_precision(ranks) == pytest.approx(1.0 if r == 1 else (0 + 1 / r) / 2)
    found = metrics_from_ranks([ranks], ks=[r - 1, r])
    assert (found[f"recall@{r - 1}"], found[f"recall@{r}"], found["mrr"]) == (0.0, 1.0, 1 / r)


def test_hits_at_two_and_five_by_hand() -> None:
    found = metrics_from_ranks([np.array([2, 5])], ks=[1, 2, 5])
    assert found["map"] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert found["map_trapezoid"] == pytest.approx(((0 + 1 / 2) / 2 + (1 / 4 + 2 / 5) / 2) / 2)
    assert found["map@r"] == pytest.approx((1 / 2) / 2)
    assert found["r_precision"] == 0.5
    assert found["mrr"] == 0.5
    assert [found[f"recall@{k}"] for k in (1, 2, 5)] == [0, 1, 1]
    assert [found[f"true_recall@{k}"] for k in (1, 2, 5)] == [0, 0.5, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=40), st.booleans())
def test_ranks_equal_a_stable_sort_with_ties_negative_zero_and_removed_rows(
    entries: list[tuple[int, bool]], removed: bool
) -> None:
    scores = np.array([s / 3 for s, _ in entries], dtype=np.float32)
    relevant = np.array([r for _, r in entries])
    scores[(scores == 0) & relevant] = -0.0
    if removed:
        scores[~relevant & (np.arange(len(scores)) % 2 == 0)] = -np.inf
    expected = np.flatnonzero(relevant[np.argsort(-scores, kind="stable")]) + 1
    assert hit_ranks(scores, relevant).tolist() == expected.tolist()


def test_minus_zero_is_zero() -> None:
    scores = np.array([-0.0, 0.0, -0.0], dtype=np.float32)
    assert [hit_ranks(scores, np.arange(3) == i).tolist() for i in range(3)] == [[1], [2], [3]]


def test_average_precision_equals_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SCORES", 200)  # several tiles
    (q, qy), (g, gy) = clusters(20, spread=2.0), clusters(60, spread=2.0, seed=1)
    scores = normalize(q) @ normalize(g).T
    each = [average_precision_score((gy == label).numpy(), row.numpy()) for row, label in zip(scores, qy)]
    assert retrieval(q, qy, g, gy)["map"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("k", [1, 3])
def test_a_random_ranking_has_the_expected_recall(k: int) -> None:
    gallery, relevant = 30, 4
    draw = np.random.default_rng(0)
    mask = np.arange(gallery) < relevant
    ranks = [hit_ranks(draw.random(gallery, dtype=np.float32), mask) for _ in range(4000)]
    expected = 1 - math.comb(gallery - relevant, k) / math.comb(gallery, k)
    assert metrics_from_ranks(ranks, [k])[f"recall@{k}"] == pytest.approx(expected, abs=0.025)


def test_a_query_inside_the_gallery_is_removed_by_its_id() -> None:
    x, y = gaussian(40, 8), torch.arange(40) % 10
    ids = torch.arange(40) + 100
    inside = retrieval(x, y, x, y)
    assert inside["recall@1"] == 1.0  # it finds itself
    without = retrieval(x, y, x, y, query_ids=ids, gallery_ids=ids)
    first = []
    for i in range(40):
        rest = [j for j in range(40) if j != i]
        nearest = int((normalize(x[rest]) @ normalize(x[i], dim=0)).argmax())
        first.append(int(y[rest[nearest]] == y[i]))
    assert without["recall@1"] == pytest.approx(np.mean(first))


def test_queries_whose_only_match_is_themselves_are_skipped() -> None:
    x, y, ids = gaussian(5, 3), torch.tensor([0, 0, 1, 2, -1]), torch.arange(5)
    assert retrieval(x, y, x, y, query_ids=ids, gallery_ids=ids)["queries"] == 2


def test_same_label_and_same_camera_is_removed_another_label_stays() -> None:
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]])
    found = retrieval(
        query,
        torch.tensor([3]),
        gallery,
        torch.tensor([3, 4, 3]),
        query_groups=torch.tensor([1]),
        gallery_groups=torch.tensor([1, 1, 2]),
    )
    assert found["mrr"] == 0.5  # row 0 gone, row 1 (a wrong answer of the same camera) first, row 2 second


def test_junk_is_removed_and_a_distractor_is_a_wrong_answer() -> None:
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]])
    assert retrieval(query, torch.tensor([3]), gallery, torch.tensor([-1, 0, 3]))["mrr"] == 0.5


def test_ties_rank_by_gallery_index() -> None:
    query, gallery = torch.ones(1, 2), torch.ones(4, 2)
    assert retrieval(query, torch.tensor([1]), gallery, torch.tensor([0, 0, 1, 1]))["mrr"] == pytest.approx(1 / 3)


def test_recall_at_one_percent_rounds_up() -> None:
    gallery = torch.tensor([[1.0, 0.1 * i] for i in range(101)])
    query = torch.tensor([[1.0, 0.0]])
    labels = torch.zeros(101, dtype=torch.int64)
    labels[1] = 1  # rank 2 of 101: inside 1 % rounded up, which is 2
    assert retrieval(query, torch.tensor([1]), gallery, labels)["recall@1%"] == 1.0
    labels[1], labels[2] = 0, 1
    assert retrieval(query, torch.tensor([1]), gallery, labels)["recall@1%"] == 0.0


def test_invariant_to_rotation_scale_and_half_precision() -> None:
    (q, qy), (g, gy) = clusters(20, spread=2.0), clusters(60, spread=2.0, seed=1)
    turn = torch.linalg.qr(gaussian(8, 8, seed=3).double())[0]
    expected = retrieval(q, qy, g, gy)
    assert retrieval(3 * q.double() @ turn, qy, g.double() @ turn, gy) == pytest.approx(expected)
    assert retrieval(q.half(), qy, g.half(), gy) == pytest.approx(expected, abs=0.01)


def test_view_retrieval_finds_the_second_view() -> None:
    a = gaussian(50, 16)
    assert view_retrieval(a, 3 * a + 0.01 * gaussian(50, 16, seed=1)) == 1.0
    assert view_retrieval(a, a.roll(1, dims=0)) == 0.0
    nearest = (normalize(a) @ normalize(b := a + gaussian(50, 16, seed=1)).T).argmax(dim=1)
    assert view_retrieval(a, b) == pytest.approx((nearest == torch.arange(50)).double().mean().item())


def test_view_retrieval_of_collapse_is_chance() -> None:
    assert view_retrieval(torch.ones(50, 4), torch.ones(50, 4)) == 1 / 50


X, Y = gaussian(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: retrieval(X, Y + 5, X, Y),
            ShapeError,
            "query_labels: found no query with a match .* Check that labels",
        ),
        (lambda: retrieval(X[:0], Y[:0], X, Y), ShapeError, "query_labels: found no query with a match"),
        (
            lambda: retrieval(X, Y, X, Y * 0 - 1),
            ShapeError,
            "gallery: found 0 rows; allowed: at least 1. Rows with label",
        ),
        (lambda: retrieval(X, Y, X[:, :2], Y), ShapeError, "queries: found 3 dimensions; allowed: 2"),
        (lambda: retrieval(X, Y, X, Y[:2]), ShapeError, r"gallery_labels: found shape \(2,\)"),
        (lambda: retrieval(X, Y, X, Y, query_ids=Y), ConfigError, "gallery_ids: found None; allowed: one per row, for"),
        (lambda: retrieval(X, Y, X, Y, gallery_groups=Y), ConfigError, "query_groups: found None"),
        (lambda: retrieval(X, Y, X, Y, query_ids=Y[:2], gallery_ids=Y), ShapeError, r"query_ids: found shape \(2,\)"),
        (lambda: retrieval(X, Y, X, Y, query_ids=Y, gallery_ids=Y / 2), ShapeError, "gallery_ids: .* whole numbers"),
        (lambda: retrieval(X, Y, X, Y, ks=[0]), ConfigError, "ks: found 0; allowed: a whole number >= 1"),
        (lambda: view_retrieval(X, X[:2]), ShapeError, "b: found 2 rows; allowed: 6, as in a"),
        (lambda: view_retrieval(X[:0], X[:0]), ShapeError, "a: found 0 rows"),
        (lambda: view_retrieval(X, X / 0), ShapeError, "b: found NaN or infinity in row 0"),
    ],
)
def test_errors(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]
