"""Near-duplicates: the threshold is read from the histogram, groups are what a person would call them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from counterpoint.errors import ConfigError, ShapeError
from counterpoint_vision.tasks import NearDuplicates
from counterpoint_vision.tasks.duplicates import COPY, choose_threshold

pytestmark = pytest.mark.unit


def scattered(count: int, noise: float, copies: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` unrelated vectors, the first ``copies`` of them a second time with a little noise; true groups."""
    draw = torch.Generator().manual_seed(seed)
    rows = functional.normalize(torch.randn(count, 64, generator=draw), dim=1)
    again = rows[:copies] + noise * torch.randn(copies, 64, generator=draw) / 8
    return torch.cat([rows, again]), torch.cat([torch.arange(count), torch.arange(copies)])


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("copies", [3, 100, 500])
def test_copies_with_noise_are_found_and_nothing_else(noise: float, copies: int) -> None:
    rows, truth = scattered(500, noise, copies)
    task = NearDuplicates().fit(rows)
    found = sorted(sorted(group.rows) for group in task.groups())
    assert found == [[i, 500 + i] for i in range(copies)]
    assert task.evaluate(rows, truth) == {"precision": 1.0, "recall": 1.0}
    assert task.predict(rows[:2]).tolist() != [-1, -1]
    assert task.predict(-rows[:2]).tolist() == [-1, -1]


@pytest.mark.parametrize("seed", range(5))
def test_without_duplicates_there_are_none(seed: int) -> None:
    rows, _ = scattered(800, 0.0, 0, seed)
    task = NearDuplicates().fit(rows)
    assert task.groups() == []
    assert task.chosen is not None and task.chosen.value == COPY
    assert "no valley" in task.chosen.reason


def test_the_threshold_given_is_the_threshold() -> None:
    rows, _ = scattered(50, 0.05, 5)
    assert len(NearDuplicates(threshold=0.9).fit(rows).groups()) == 5
    (group,) = NearDuplicates(threshold=1e-6, k=49).fit(rows).groups()[:1]
    assert len(group.rows) > 40, "everything hangs together"
    assert choose_threshold(torch.full((9, 3), 0.2)).value == COPY


def test_groups_are_linked_and_sorted() -> None:
    angles = torch.tensor([0.0, 0.1, 0.2, 2.0, 2.05, 4.0])
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    first, second = NearDuplicates(threshold=0.994).fit(rows).groups()
    assert first.rows[0] == 1 and set(first.rows) == {0, 1, 2}, "the middle one stands for the three"
    assert first.scores[1:] == pytest.approx([0.995, 0.995], abs=1e-3)
    assert second.rows == [3, 4]


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match="threshold: found 0"):
        NearDuplicates(threshold=0)
    with pytest.raises(ShapeError, match="N of at least 2"):
        NearDuplicates().fit(torch.ones(1, 4))
    with pytest.raises(ConfigError, match="fit before predict"):
        NearDuplicates().groups()
    with pytest.raises(ShapeError, match="at least one true pair"):
        NearDuplicates(0.5).fit(torch.eye(3)).evaluate(torch.eye(3), torch.arange(3))
