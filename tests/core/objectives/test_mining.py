"""Mining against the plain ranking of the whole matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ShapeError
from counterpoint.objectives import _largest, _tiles
from counterpoint.objectives._largest import largest
from counterpoint.objectives.mining import hardest_pairs

pytestmark = pytest.mark.unit


def rows(count: int, seed: int, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).t()


@pytest.mark.parametrize(("width", "count"), [(7, 3), (64, 4), (67, 4), (1000, 9), (1001, 1), (50, 50), (12, 3)])
def test_the_largest_are_those_of_a_full_ranking(width: int, count: int) -> None:
    scores = rows(5, width, width)
    scores[2, ::3] = scores[2, 0]  # ties
    scores[3, 2:] = -torch.inf
    values, places = largest(scores, count)
    assert torch.equal(values, scores.topk(count, dim=1).values)
    assert torch.equal(scores.gather(1, places), values)
    assert all(len(set(row.tolist())) == count for row in places)


@pytest.mark.parametrize("kind", ["all equal", "few finite", "NaN", "one crowded row"])
def test_the_largest_of_rows_with_many_equal_scores_and_with_nan(kind: str) -> None:
    scores = rows(6, 0, 403)
    if kind == "all equal":
        scores[:] = 1.0
    elif kind == "few finite":
        scores[:, 3:] = -torch.inf
    elif kind == "NaN":
        scores[2], scores[3, 7] = torch.nan, torch.nan
    else:
        scores[1] = 5.0
    values, places = largest(scores, 9)
    assert torch.equal(values.nan_to_num(99), scores.topk(9, dim=1).values.nan_to_num(99))
    assert torch.equal(scores.gather(1, places).nan_to_num(99), values.nan_to_num(99))
    assert all(len(set(row.tolist())) == 9 for row in places)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_of_several_parts_and_of_half_precision(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(_largest, "PART", 150)  # two rows at a time
    scores = rows(5, 1, 70).to(dtype).requires_grad_()
    values, places = _largest.largest(scores, 3)
    assert torch.equal(values, scores.topk(3, dim=1).values) and values.dtype == dtype
    assert torch.equal(scores.gather(1, places), values)


@pytest.mark.parametrize("block", [None, 40])
def test_hardest_pairs_are_the_least_similar_of_a_class_and_the_most_similar_of_another(
    monkeypatch: pytest.MonkeyPatch, block: int | None
) -> None:
    if block is not None:
        monkeypatch.setattr(_tiles, "CPU_BLOCK", block)
    features, labels = rows(8, 4), torch.tensor([0, 0, 0, 1, 1, 2, -1, -1])
    found = hardest_pairs(features, labels)
    dense = cosines(features, features)
    for i, label in enumerate(labels.tolist()):
        same = [j for j in range(8) if j != i and label >= 0 and labels[j] == label]
        other = [j for j in range(8) if label >= 0 and labels[j] >= 0 and labels[j] != label]
        assert bool(found.has_positive[i]) == bool(same) and bool(found.has_negative[i]) == bool(other)
        assert int(found.positive[i]) == (min(same, key=lambda j: dense[i, j].item()) if same else i)
        assert int(found.negative[i]) == (max(other, key=lambda j: dense[i, j].item()) if other else i)


def test_half_precision_ranks_as_single_does() -> None:
    features, labels = rows(9, 1).float(), torch.arange(9) % 3
    with torch.autocast("cpu", torch.bfloat16):
        half = hardest_pairs(features, labels)
    assert all(torch.equal(a, b) for a, b in zip(half, hardest_pairs(features, labels)))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ShapeError, match=r"labels: found torch\.float32"):
        hardest_pairs(rows(3, 0), torch.ones(3))
