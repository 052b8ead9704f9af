"""Floors against their formulas on dense matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from counterpoint_graphrec.baselines import Ease, ItemNeighbours, popularity
from tastes import ITEMS, USERS, table

pytestmark = pytest.mark.unit

ALL, EVERYBODY = slice(0, ITEMS), torch.arange(USERS)


@pytest.fixture
def train(tmp_path: Path) -> csr_array:
    return table(tmp_path).matrix("train")


def test_popularity_is_the_same_for_everybody(train: csr_array) -> None:
    scores = popularity(train)(torch.tensor([3, 5, 3]), slice(10, 14))
    assert torch.equal(scores, torch.from_numpy(train.toarray().sum(axis=0)[10:14]).repeat(3, 1))


@pytest.mark.parametrize("k", [1, 5, 200])
def test_item_neighbours_by_the_formula(train: csr_array, k: int) -> None:
    x = train.toarray()
    norms = np.maximum(np.linalg.norm(x, axis=0), 1e-9)
    cosine = (x.T @ x) / norms[:, None] / norms
    np.fill_diagonal(cosine, 0)
    for item, row in enumerate(cosine):  # of equal ones the lower number
        cosine[item, np.argsort(-row.round(6), kind="stable")[k:]] = 0
    made = ItemNeighbours(train).scores(k)
    together = made(EVERYBODY, ALL)
    np.testing.assert_allclose(together, x @ cosine.T, atol=1e-5)
    parts = [made(EVERYBODY[:7], slice(start, start + 25)) for start in (0, 25)]
    assert torch.equal(torch.cat(parts, dim=1), together[:7])


def test_item_neighbours_do_not_depend_on_the_tiles(train: csr_array, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ItemNeighbours(train, 5).scores(5)(EVERYBODY, ALL)
    monkeypatch.setattr("counterpoint_graphrec.baselines._VALUES", 350)  # seven items at a time
    assert torch.equal(ItemNeighbours(train, 5).scores(5)(EVERYBODY, ALL), whole)


@pytest.mark.parametrize("penalty", [1.0, 100.0])
def test_ease_by_the_formula(train: csr_array, penalty: float) -> None:
    x = train.toarray().astype(np.float64)
    precision = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    weights = np.eye(x.shape[1]) - precision / np.diag(precision)
    made = Ease(train).scores(penalty)
    np.testing.assert_allclose(made(EVERYBODY, ALL), x @ weights, atol=1e-4)
    np.testing.assert_allclose(made(torch.tensor([4]), slice(3, 9)), x[[4]] @ weights[:, 3:9], atol=1e-4)


def test_ease_is_the_ridge_regression_without_the_item_itself(train: csr_array) -> None:
    x, penalty, item = train.toarray().astype(np.float64), 10.0, 6
    others = np.delete(x, item, axis=1)
    weights = np.linalg.solve(others.T @ others + penalty * np.eye(49), others.T @ x[:, item])
    made = Ease(train).scores(penalty)
    np.testing.assert_allclose(made(torch.arange(60), slice(item, item + 1))[:, 0], others @ weights, atol=1e-4)
