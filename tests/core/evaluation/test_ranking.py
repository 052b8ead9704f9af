"""Full ranking against a slow one with a full sort, and the laws that hold for any scores."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation.ranking import Ranked, Scores, dot_scores, full_ranking, top_blocks
from counterpoint.evaluation.stats import paired_difference

pytestmark = pytest.mark.unit

K = 5


def from_matrix(matrix: Tensor) -> Scores:
    """Scores that are written down: the same whatever the tiles."""
    return lambda rows, columns: matrix[rows, columns].clone()


def drawn(users: int, items: int, seed: int, levels: int = 6) -> tuple[Tensor, csr_array, csr_array]:
    """Scores with many ties, seen and relevant items (disjoint); some users have nothing of either."""
    rng = np.random.default_rng(seed)
    part = rng.choice(3, p=[0.6, 0.25, 0.15], size=(users, items))
    part[rng.random(users) < 0.2] = 0
    scores = torch.from_numpy(rng.integers(0, levels, (users, items)).astype(np.float32))
    return scores, csr_array(part == 1), csr_array(part == 2)


def by_hand(scores: Tensor, seen: csr_array, relevant: csr_array, k: int) -> dict[str, float]:
    """The definitions, one user after the other, on lists."""
    known, wanted = seen.toarray(), relevant.toarray()
    rows: list[tuple[float, float, float, float]] = []
    all_hits = all_relevant = 0
    for user, line in enumerate(scores.tolist()):
        truth = {item for item in range(len(line)) if wanted[user, item]}
        if not truth:
            continue
        order = sorted((-score, item) for item, score in enumerate(line) if not known[user, item])
        hits = [item in truth for _, item in order[:k]]
        gain = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(truth))))
        rows.append((sum(hits) / len(truth), gain / ideal, sum(hits) / k, float(any(hits))))
        all_hits, all_relevant = all_hits + sum(hits), all_relevant + len(truth)
    means = np.mean(rows, axis=0)
    names = ("recall", "ndcg", "precision", "hit")
    return {f"{n}@{k}": float(m) for n, m in zip(names, means)} | {f"micro_recall@{k}": all_hits / all_relevant}


@settings(max_examples=60, deadline=None)
@given(
    users=st.integers(1, 12),
    items=st.integers(2, 60),
    seed=st.integers(0, 10_000),
    levels=st.sampled_from([1, 2, 6, 1000]),
    tile=st.integers(1, 70),
    held=st.integers(1, 300),
    k=st.integers(1, 70),
)
def test_equals_a_full_sort_with_ties_in_any_tiles(
    users: int, items: int, seed: int, levels: int, tile: int, held: int, k: int
) -> None:
    scores, seen, relevant = drawn(users, items, seed, levels)
    if relevant.nnz == 0:
        with pytest.raises(ShapeError, match="no user with a relevant item"):
            full_ranking(from_matrix(scores), seen, relevant, k)
        return
    ranked = full_ranking(from_matrix(scores), seen, relevant, k, tile=tile, held=held)
    expected = by_hand(scores, seen, relevant, k)
    assert ranked.metrics(k) == pytest.approx(expected, abs=1e-12)
    smaller = max(1, k // 2)
    assert ranked.metrics(smaller) == pytest.approx(by_hand(scores, seen, relevant, smaller), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dot_scores_of_whole_numbers_rank_the_same_in_both_precisions(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    users, items = (torch.from_numpy(rng.integers(-3, 4, (n, 8))).to(dtype) for n in (40, 300))
    _, seen, relevant = drawn(40, 300, 1)
    ranked = full_ranking(dot_scores(users, items), seen, relevant, K, tile=37, held=500)
    expected = by_hand(users.double() @ items.double().T, seen, relevant, K)
    assert ranked.metrics(K) == pytest.approx(expected, abs=1e-12)


def test_an_oracle_finds_all_that_fits() -> None:
    _, seen, relevant = drawn(30, 40, 2)
    ranked = full_ranking(from_matrix(torch.from_numpy(relevant.toarray()).float()), seen, relevant, K)
    assert ranked.ndcg(K) == pytest.approx(1.0)
    np.testing.assert_allclose(ranked.recall(K), np.minimum(K, ranked.relevant) / ranked.relevant)
    assert (ranked.relevant > K).any()
    assert (ranked.hit(K) == 1).all()


def test_random_scores_find_their_share_of_the_candidates() -> None:
    users, items = 2000, 50
    rng = np.random.default_rng(3)
    part = rng.choice(3, p=[0.5, 0.3, 0.2], size=(users, items))
    seen, relevant = csr_array(part == 1), csr_array(part == 2)
    recall = full_ranking(from_matrix(torch.from_numpy(rng.random((users, items)))), seen, relevant, K).recall(K)
    candidates = (part != 1).sum(axis=1)[(part == 2).any(axis=1)]
    error = recall - K / candidates  # its expectation is 0 for every user
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(len(error))


def test_permuting_users_permutes_what_is_measured() -> None:
    scores, seen, relevant = drawn(25, 40, 4)
    order = np.random.default_rng(5).permutation(25)
    one = full_ranking(from_matrix(scores), seen, relevant, K)
    other = full_ranking(from_matrix(scores[torch.from_numpy(order)]), seen[order], relevant[order], K)
    assert other.metrics(K) == pytest.approx(one.metrics(K))
    back = np.argsort(order[other.users])
    assert np.array_equal(other.items[back], one.items)
    assert np.array_equal(other.ndcg(K)[back], one.ndcg(K))


def test_permuting_items_changes_nothing_where_scores_differ() -> None:
    _, seen, relevant = drawn(25, 40, 6)
    scores = torch.from_numpy(np.random.default_rng(6).permuted(np.tile(np.arange(40.0), (25, 1)), axis=1))
    order = np.random.default_rng(7).permutation(40)
    one = full_ranking(from_matrix(scores), seen, relevant, K)
    moved = full_ranking(from_matrix(scores[:, torch.from_numpy(order)]), seen[:, order], relevant[:, order], K)
    assert moved.metrics(K) == pytest.approx(one.metrics(K), abs=1e-12)
    assert np.array_equal(order[moved.items], one.items)


def test_adding_a_masked_item_changes_nothing() -> None:
    scores, seen, relevant = drawn(25, 40, 8)
    one = full_ranking(from_matrix(scores), seen, relevant, K)
    best = torch.full((25, 1), 99.0)
    wider = csr_array(np.hstack([seen.toarray(), np.ones((25, 1), dtype=bool)]))
    none = csr_array(np.hstack([relevant.toarray(), np.zeros((25, 1), dtype=bool)]))
    two = full_ranking(from_matrix(torch.cat([scores, best], dim=1)), wider, none, K)
    assert np.array_equal(one.items, two.items)
    assert one.metrics(K) == two.metrics(K)


def test_seen_items_are_never_shown_and_empty_places_say_so() -> None:
    scores, seen, _ = drawn(6, 8, 9)
    seen = csr_array(np.where(np.arange(8) < 6, True, seen.toarray()))
    relevant = csr_array(np.eye(6, 8, k=2, dtype=bool))  # some of them were seen: they can't be found
    ranked = full_ranking(from_matrix(scores), seen, relevant, 4)
    for user, items in zip(ranked.users, ranked.items):
        left = set(np.flatnonzero(~seen.toarray()[user]))
        assert set(items[items >= 0]) == left
        assert (items == -1).sum() == 4 - len(left)
    assert not ranked.hits[ranked.items < 0].any()


def test_users_without_a_relevant_item_are_left_out() -> None:
    scores = torch.arange(12.0).view(3, 4)
    relevant = csr_array(np.array([[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool))
    ranked = full_ranking(from_matrix(scores), csr_array((3, 4), dtype=bool), relevant, 2)
    assert ranked.users.tolist() == [0, 2]
    assert ranked.recall(2).tolist() == [1.0, 0.0]
    assert ranked.relevant.tolist() == [1, 1]


def test_a_pair_stored_twice_counts_once() -> None:
    twice = csr_array((np.ones(3), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 4))
    ranked = full_ranking(from_matrix(torch.arange(4.0)[None]), csr_array((1, 4)), twice, 2)
    assert ranked.relevant.tolist() == [2]
    assert ranked.recall(2).tolist() == [0.5]
    assert twice.nnz == 3  # the caller's matrix is as it was


def test_the_two_hit_ratios_differ() -> None:
    relevant = csr_array(np.array([[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]], dtype=bool))
    ranked = full_ranking(from_matrix(-torch.arange(6.0).expand(2, 6)), csr_array((2, 6)), relevant, 1)
    assert ranked.metrics(1) == pytest.approx(
        {"recall@1": 0.6, "ndcg@1": 1.0, "precision@1": 1.0, "hit@1": 1.0, "micro_recall@1": 2 / 6}
    )


def test_recall_and_hits_rise_with_k() -> None:
    scores, seen, relevant = drawn(25, 40, 10)
    ranked = full_ranking(from_matrix(scores), seen, relevant, 30)
    for smaller, larger in pairwise(range(1, 31)):
        assert (ranked.recall(smaller) <= ranked.recall(larger)).all()
        assert (ranked.hit(smaller) <= ranked.hit(larger)).all()


def test_what_is_kept_user_by_user_is_compared_in_pairs() -> None:
    scores, seen, relevant = drawn(60, 40, 11)
    better = scores + 3 * torch.from_numpy(relevant.toarray())
    one, two = (full_ranking(from_matrix(s), seen, relevant, K) for s in (scores, better))
    paired = paired_difference(two.ndcg(K).tolist(), one.ndcg(K).tolist())
    assert paired.clear
    assert paired.difference.mean == pytest.approx(two.metrics(K)["ndcg@5"] - one.metrics(K)["ndcg@5"])


def test_lists_for_everybody_come_block_after_block() -> None:
    scores, seen, _ = drawn(23, 40, 12)
    blocks = list(top_blocks(from_matrix(scores), seen, np.arange(23), K, tile=10, held=40))
    assert [part.start for part, _, _ in blocks] == list(range(0, 23, 4))
    masked = scores.masked_fill(torch.from_numpy(seen.toarray()), -torch.inf)
    expected = masked.sort(dim=1, descending=True, stable=True)
    assert torch.equal(torch.cat([items for _, items, _ in blocks]), expected.indices[:, :K])
    assert torch.equal(torch.cat([values for _, _, values in blocks]), expected.values[:, :K])


def test_memory_is_that_of_a_tile() -> None:
    """A million items: the scores of all users at once would be 4 GB."""
    users, items = 1000, 1_000_000
    largest = 0

    def scores(rows: Tensor, columns: slice) -> Tensor:
        nonlocal largest
        made = (torch.arange(columns.start, columns.stop) % 997).float().expand(len(rows), -1).clone()
        largest = max(largest, made.numel())
        return made

    relevant = csr_array((np.ones(3), ([0, 1, 999], [996, 996 + 997, 5])), shape=(users, items))
    seen = csr_array((np.ones(1), ([1], [996])), shape=(users, items))
    ranked = full_ranking(scores, seen, relevant, 2)
    assert ranked.items.tolist() == [[996, 1993], [1993, 2990], [996, 1993]]
    assert ranked.hits.tolist() == [[True, False], [True, False], [False, False]]
    assert largest <= 1_000_000


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"seen": csr_array((3, 4))}, ShapeError, r"relevant: found shape \(2, 4\)"),
        ({"relevant": csr_array((2, 4))}, ShapeError, "no user with a relevant item"),
        ({"k": 0}, ConfigError, "k: found 0"),
        ({"tile": 0}, ConfigError, "tile: found 0"),
        ({"held": 0}, ConfigError, "held: found 0"),
        ({"scores": lambda rows, columns: torch.zeros(1, 1)}, ShapeError, r"scores: found shape \(1, 1\)"),
    ],
)
def test_what_cannot_be_is_named(change: dict[str, object], error: type[Exception], text: str) -> None:
    given = {
        "scores": from_matrix(torch.zeros(2, 4)),
        "seen": csr_array((2, 4)),
        "relevant": csr_array(np.eye(2, 4)),
    }
    with pytest.raises(error, match=text):
        full_ranking(**{**given, **change})


def test_a_score_that_is_not_a_number_is_named_with_its_user() -> None:
    scores = torch.zeros(3, 4)
    scores[2, 1] = torch.nan
    with pytest.raises(ShapeError, match="NaN for user 2"):
        full_ranking(from_matrix(scores), csr_array((3, 4)), csr_array(np.eye(3, 4)))
    with pytest.raises(ShapeError, match="users: found NaN or infinity in row 2"):
        dot_scores(scores, torch.ones(5, 4))


def test_more_than_was_ranked_is_refused_unless_there_is_no_more() -> None:
    scores, seen, relevant = drawn(10, 8, 13)
    ranked: Ranked = full_ranking(from_matrix(scores), seen, relevant, 3)
    with pytest.raises(ConfigError, match="k: found 4"):
        ranked.ndcg(4)
    everything = full_ranking(from_matrix(scores), seen, relevant, 20)
    assert everything.items.shape[1] == 8
    assert everything.recall(20) == pytest.approx(1.0)
    assert everything.precision(20) == pytest.approx(everything.relevant / 20)
