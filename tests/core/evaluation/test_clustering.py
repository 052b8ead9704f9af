"""k-means and its agreement with labels."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation.clustering import cluster_agreement, kmeans, scatter_ratio

pytestmark = pytest.mark.unit


def blobs(n: int, spread: float) -> tuple[Tensor, Tensor]:
    y = torch.arange(n) % 4
    g = torch.Generator().manual_seed(0)
    return torch.randn(4, 6, generator=g)[y] + spread * torch.randn(n, 6, generator=g), y


def test_separable_blobs_are_found_whatever_the_classes_are_called() -> None:
    x, y = blobs(60, 0.01)
    assert cluster_agreement(x, y) == pytest.approx({"nmi": 1, "ari": 1})
    assert cluster_agreement(x, 17 * (3 - y)) == pytest.approx({"nmi": 1, "ari": 1})


def test_random_labels_have_no_rand_index() -> None:
    x, y = blobs(400, 1.0)
    shuffled = y[torch.randperm(400, generator=torch.Generator().manual_seed(1))]
    assert cluster_agreement(x, shuffled)["ari"] == pytest.approx(0, abs=0.02)


def test_numbers_are_those_of_the_clusters() -> None:
    x, y = blobs(80, 0.8)
    found = kmeans(x, 3, seed=5)
    expected = {"nmi": normalized_mutual_info_score(y, found), "ari": adjusted_rand_score(y, found)}
    assert cluster_agreement(x, y, clusters=3, seed=5) == pytest.approx(expected)
    assert 0 < expected["nmi"] < 1


def test_length_of_rows_does_not_matter_and_seeds_repeat() -> None:
    x, _ = blobs(80, 0.5)
    length = torch.arange(1, 81)[:, None] / 10
    assert torch.equal(kmeans(x, 4), kmeans(x, 4))
    assert adjusted_rand_score(kmeans(x, 4), kmeans(x * length, 4)) == pytest.approx(1)


def test_unknown_labels_are_left_out() -> None:
    x, y = blobs(60, 0.01)
    more = torch.cat([x, -x[:7]])
    assert cluster_agreement(more, torch.cat([y, torch.full((7,), -1)]))["ari"] == pytest.approx(1)


def test_collapse_agrees_by_zero_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cluster_agreement(torch.ones(20, 3), torch.arange(20) % 2) == pytest.approx({"nmi": 0, "ari": 0})


def test_fewer_rows_than_clusters_and_half_precision() -> None:
    assert sorted(kmeans(torch.eye(3).half(), 8).tolist()) == [0, 1, 2]


def test_errors() -> None:
    x, y = blobs(8, 1.0)
    with pytest.raises(ShapeError, match=r"^labels: found 0 known labels"):
        cluster_agreement(x, y * 0 - 1)
    with pytest.raises(ShapeError, match="features: found 0 rows"):
        kmeans(x[:0], 2)
    with pytest.raises(ConfigError, match="clusters: found 0; allowed: a whole number >= 1"):
        kmeans(x, 0)
    with pytest.raises(ConfigError, match="restarts: found 0"):
        kmeans(x, 2, restarts=0)


def test_scatter_ratio_is_that_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 5, generator=generator).double(), torch.randint(-1, 3, (30,), generator=generator)
    unit = torch.nn.functional.normalize(x, dim=1)[y >= 0]
    known = y[y >= 0]
    distance, same = 1 - unit @ unit.T, known[:, None] == known
    other = ~torch.eye(len(known), dtype=torch.bool)
    expected = distance[same & other].mean() / distance[~same].mean()
    assert scatter_ratio(x, y) == pytest.approx(float(expected))


def test_scatter_ratio_where_classes_are_points_and_where_there_is_nothing_to_compare() -> None:
    x = torch.eye(3).repeat_interleave(4, dim=0)
    assert scatter_ratio(x, torch.arange(3).repeat_interleave(4)) == pytest.approx(0, abs=1e-12)
    for labels in (torch.zeros(12, dtype=torch.int64), torch.arange(12)):
        assert math.isnan(scatter_ratio(x, labels))
    assert math.isnan(scatter_ratio(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]))), "total collapse"
