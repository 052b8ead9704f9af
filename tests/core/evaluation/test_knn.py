"""Weighted kNN: exact search, and the votes of the protocol."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation import knn
from counterpoint.evaluation.knn import knn_classify, knn_search, knn_vote

pytestmark = pytest.mark.unit


def blobs(n: int = 300, classes: int = 4, dim: int = 8, spread: float = 1.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    y = torch.randint(classes, (n,), generator=g)
    return centres[y] + spread * torch.randn(n, dim, generator=g), y


def whole_numbers(n: int, dim: int, seed: int) -> Tensor:
    """Small whole numbers: their products are exact in float32, so that brute force must agree to the bit."""
    return torch.randint(-3, 4, (n, dim), generator=torch.Generator().manual_seed(seed)).float()


def brute_force(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    scores, order = (queries.double() @ bank.double().T).sort(dim=1, descending=True, stable=True)
    return scores[:, :k], order[:, :k]


@settings(max_examples=40, deadline=None)
@given(
    queries=st.integers(0, 20),
    rows=st.integers(1, 120),
    dim=st.integers(1, 5),
    share=st.floats(0, 1),
    tile=st.sampled_from([1, 7, 50, 1000]),
    held=st.sampled_from([1, 30, 100_000]),
)
def test_search_is_brute_force_to_the_bit_in_any_tiles(
    queries: int, rows: int, dim: int, share: float, tile: int, held: int
) -> None:
    k = max(1, round(share * rows))
    q, b = whole_numbers(queries, dim, 1), whole_numbers(rows, dim, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "TILE", tile)
        patch.setattr(knn, "SCORES", held)
        scores, indices = knn_search(q, b, k)
    expected = brute_force(q, b, k)
    assert torch.equal(scores.double(), expected[0])
    assert torch.equal(indices, expected[1])


def test_search_on_real_numbers_agrees_with_the_dense_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "TILE", 300)
    g = torch.Generator().manual_seed(0)
    q, b = torch.randn(50, 16, generator=g).double(), torch.randn(1000, 16, generator=g).double()
    scores, indices = knn_search(q, b, 10)
    expected = (q @ b.T).topk(10)
    assert torch.equal(indices, expected.indices)
    torch.testing.assert_close(scores, expected.values, rtol=1e-12, atol=1e-12)


def test_equal_rows_come_in_the_order_of_the_bank() -> None:
    bank = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert knn_search(torch.tensor([[1.0, 0.0]]), bank, 2)[1].tolist() == [[1, 2]]


def test_no_query_gives_no_row() -> None:
    scores, indices = knn_search(torch.empty(0, 3), torch.ones(5, 3), 2)
    assert scores.shape == indices.shape == (0, 2)
    assert indices.dtype == torch.int64


def test_half_precision_is_searched_in_float32() -> None:
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).half()
    scores, indices = knn_search(x, x, 3)
    assert scores.dtype == torch.float32
    assert torch.equal(indices, knn_search(x.float(), x.float(), 3)[1])


def test_infinite_temperature_is_the_majority_vote() -> None:
    x, y = blobs()
    z, _ = blobs(100, seed=1)
    near = y[knn_search(normalize(z), normalize(x), 7)[1]]
    count = torch.stack([(near == c).sum(dim=1) for c in range(4)], dim=1)
    assert torch.equal(knn_classify(x, y, z, k=7, temperature=math.inf), count.argmax(dim=1))
    best = count.sort(dim=1, descending=True).values
    clear = best[:, 0] > best[:, 1]  # finite temperatures decide a draw by nearness
    assert 0 < clear.sum() < len(clear)
    assert torch.equal(knn_classify(x, y, z, k=7, temperature=1e12)[clear], count.argmax(dim=1)[clear])


def test_temperature_near_zero_is_one_nearest_neighbour() -> None:
    x, y = blobs()
    z, _ = blobs(100, seed=1)
    assert torch.equal(knn_classify(x, y, z, k=20, temperature=1e-9), knn_classify(x, y, z, k=1))


def test_bank_as_test_set_with_one_neighbour_is_perfect() -> None:
    x, y = blobs()
    assert torch.equal(knn_classify(x, y, x, k=1), y)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_invariant_to_rotation_scale_and_order_of_the_bank(k: int) -> None:
    g = torch.Generator().manual_seed(2)
    x, y = blobs()
    z, _ = blobs(80, seed=1)
    x, z = x.double(), z.double()
    turn = torch.linalg.qr(torch.randn(8, 8, generator=g).double())[0]
    order = torch.randperm(len(x), generator=g)
    expected = knn_classify(x, y, z, k=k)
    assert torch.equal(knn_classify(x @ turn, y, z @ turn, k=k), expected)
    assert torch.equal(knn_classify(3 * x, y, z / 7, k=k), expected)
    assert torch.equal(knn_classify(x[order], y[order], z, k=k), expected)


def test_votes_equal_the_formula_and_scikit_learn() -> None:
    x, y = blobs(seed=3)
    z, _ = blobs(60, seed=4)

    def weights(distance: object) -> object:  # scikit-learn's cosine distance is 1 - cosine
        return torch.exp((1 - torch.as_tensor(distance)) / 0.2).numpy()

    other = KNeighborsClassifier(15, weights=weights, metric="cosine", algorithm="brute").fit(x.numpy(), y.numpy())
    assert knn_classify(x, y, z, k=15, temperature=0.2).tolist() == other.predict(z.numpy()).tolist()
    scores, near = torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1, 0, 0]])
    votes = knn_vote(scores, near, 3, temperature=0.5)
    dense = torch.tensor([math.exp(0.8 / 0.5) + math.exp(0.1 / 0.5), math.exp(0.9 / 0.5), 0.0]).double()
    torch.testing.assert_close(votes[0] / votes.sum(), dense / dense.sum())


def test_unknown_labels_are_left_out_and_few_rows_all_vote() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert knn_classify(x, torch.tensor([-1, 1, 0]), x, k=20).tolist() == [1, 1, 0]


def test_one_class_is_always_the_answer() -> None:
    x, _ = blobs(30)
    assert set(knn_classify(x, torch.full((30,), 2), x, k=5).tolist()) == {2}


def test_constant_features_answer_by_the_lowest_rows() -> None:
    x = torch.ones(6, 3)
    assert knn_classify(x, torch.tensor([1, 1, 0, 0, 0, 0]), x, k=3).tolist() == [1] * 6


def test_no_query_gives_no_prediction() -> None:
    x, y = blobs(30)
    assert knn_classify(x, y, torch.empty(0, 8)).shape == (0,)


def test_a_tiny_temperature_does_not_overflow() -> None:
    votes = knn_vote(torch.tensor([[1.0, -1.0]]), torch.tensor([[0, 1]]), 2, temperature=1e-30)
    assert votes.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x, y: knn_search(x, x, 31), ConfigError, "k: found 31; allowed: 1 to 30, the rows of the bank"),
        (lambda x, y: knn_search(x, x, 0), ConfigError, "k: found 0; allowed: a whole number >= 1"),
        (lambda x, y: knn_search(x[:, :3], x, 1), ShapeError, "queries: found 3 dimensions; allowed: 8"),
        (lambda x, y: knn_search(x, x[:0], 1), ShapeError, "bank: found 0 rows; allowed: at least 1"),
        (lambda x, y: knn_search(x[0], x, 1), ShapeError, r"queries: found shape \(8,\); allowed: shape \(N, D\)"),
        (lambda x, y: knn_search(x.to(torch.cfloat), x, 1), ShapeError, "queries: found dtype torch.complex64"),
        (lambda x, y: knn_classify(x, y, x, temperature=0), ConfigError, "temperature: found 0; allowed: a number > 0"),
        (
            lambda x, y: knn_classify(x, y[:5], x),
            ShapeError,
            r"train_labels: found shape \(5,\); allowed: shape \(30,\)",
        ),
        (lambda x, y: knn_classify(x, y.float(), x), ShapeError, "train_labels: found dtype torch.float32"),
        (lambda x, y: knn_classify(x, y - 5, x), ShapeError, "class indices >= 0, and -1 for unknown"),
        (lambda x, y: knn_classify(x, y * 0 - 1, x), ShapeError, "train_labels: found no known label"),
        (lambda x, y: knn_classify(x, y * 0 + 3, x, classes=3), ConfigError, "classes: found 3; allowed: more than"),
    ],
)
def test_errors_name_argument_found_and_allowed(call: object, error: type[Exception], text: str) -> None:
    x, y = blobs(30)
    with pytest.raises(error, match=text):
        call(x, y)  # type: ignore[operator]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_not_finite_is_named(value: float) -> None:
    x, y = blobs(30)
    x[7, 2], x[11, 0] = value, value
    with pytest.raises(ShapeError, match="train_features: found NaN or infinity in row 7 and 1 more"):
        knn_classify(x, y, x[:5])


def test_large_finite_values_whose_sum_overflows_are_accepted() -> None:
    x = torch.full((3, 2), 3e38)
    assert knn_classify(x, torch.tensor([1, 1, 1]), x).tolist() == [1, 1, 1]
