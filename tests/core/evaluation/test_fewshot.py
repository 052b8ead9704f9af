"""Few labels: what is drawn, what the interval is, and the limits of each protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.evaluation import fewshot
from counterpoint.evaluation.fewshot import draw_rows, episodes, few_shot, label_fraction

pytestmark = pytest.mark.unit


def blobs(n: int, classes: int = 4, dim: int = 8, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    y = torch.arange(n) % classes
    return centres[y] + spread * torch.randn(n, dim, generator=g), y


def test_draws_have_k_rows_of_each_class_without_repeats() -> None:
    y = np.array([0] * 5 + [1] * 9 + [-1] * 3)
    rows = draw_rows(y, {0: 4, 1: 4}, np.random.default_rng(0))
    assert np.bincount(y[rows]).tolist() == [4, 4]
    assert len(set(rows.tolist())) == 8


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_separable_blobs_are_perfect_at_any_k(k: int) -> None:
    train, test = blobs(80, spread=0.01), blobs(40, spread=0.01, seed=1)
    found = few_shot(*train, *test, k=k)
    assert (found.mean, found.half, found.n) == (1.0, 0.0, 10)


def test_all_rows_of_balanced_classes_give_the_same_answer_in_every_draw() -> None:
    train, test = blobs(40, spread=2.0), blobs(40, spread=2.0, seed=1)
    found = few_shot(*train, *test, k=10, draws=3)
    assert found.std == pytest.approx(0, abs=1e-12)
    assert label_fraction(*train, *test, fraction=1.0, draws=3).mean == pytest.approx(found.mean)


def test_more_shots_are_better_and_seeds_are_repeatable() -> None:
    train, test = blobs(200, spread=1.5), blobs(200, spread=1.5, seed=1)
    one, many = few_shot(*train, *test, k=1), few_shot(*train, *test, k=20)
    assert many.mean > one.mean + 0.1
    assert few_shot(*train, *test, k=1) == one
    assert few_shot(*train, *test, k=1, seed=1) != one


def test_unknown_labels_are_neither_drawn_nor_measured() -> None:
    x, y = blobs(40, spread=0.01)
    noise = torch.randn(40, 8, generator=torch.Generator().manual_seed(5))
    mixed, marked = torch.cat([x, noise]), torch.cat([y, torch.full((40,), -1)])
    assert few_shot(mixed, marked, mixed, marked, k=3).mean == 1.0


def test_a_fraction_is_drawn_class_by_class_and_at_least_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    draw = fewshot.draw_rows
    monkeypatch.setattr(fewshot, "draw_rows", lambda y, *rest: (seen.append(list(rows := draw(y, *rest))), rows)[1])
    y = torch.tensor([0] * 50 + [1] * 20 + [2] * 3)
    label_fraction(
        torch.randn(73, 4, generator=torch.Generator().manual_seed(0)), y, torch.ones(2, 4), y[:2], fraction=0.1
    )
    assert [np.bincount(y[rows]).tolist() for rows in seen] == [[5, 2, 1]] * 5
    assert len({tuple(sorted(rows)) for rows in seen}) > 1


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_episodes_of_separable_blobs_are_perfect(distance: str) -> None:
    found = episodes(*blobs(200, 5, spread=0.01), ways=5, shots=5, queries=15, count=20, distance=distance)
    assert found.mean == 1.0


def test_all_support_and_one_class_per_cluster_is_perfect() -> None:
    found = episodes(*blobs(60, 3, spread=0.01), ways=3, shots=19, queries=1, count=5)
    assert found.mean == 1.0


@pytest.mark.parametrize("ways", [2, 5])
def test_random_features_are_at_chance(ways: int) -> None:
    g = torch.Generator().manual_seed(0)
    found = episodes(torch.randn(200, 16, generator=g), torch.arange(200) % 5, ways=ways, queries=10, count=300)
    assert found.low - 0.02 < 1 / ways < found.high + 0.02
    assert found.half == pytest.approx(1.959964 * found.std / math.sqrt(300))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_episode_is_the_nearest_prototype(distance: str) -> None:
    x, y = blobs(24, 3, spread=1.5)
    z = torch.stack([x[y == c] for c in range(3)])
    z = normalize(z, dim=2) if distance == "cosine" else z
    right = []
    for c in range(3):
        for query in z[c, 3:]:
            prototypes = [z[n, :3].mean(dim=0) for n in range(3)]
            if distance == "cosine":
                score = [torch.dot(query, p / p.norm()).item() for p in prototypes]
            else:
                score = [-(query - p).norm().item() for p in prototypes]
            right.append(int(np.argmax(score)) == c)
    assert fewshot._episode(z, 3, distance) == pytest.approx(np.mean(right))


def test_a_tight_class_has_no_advantage_by_cosine() -> None:
    """The mean of unit rows is longer in a tight class; by cosine only its direction counts."""
    tight = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    wide = torch.tensor([[-0.6, 0.8], [0.96, 0.28], [0.6, 0.8]])  # prototype (0.18, 0.54), of length 0.57
    assert fewshot._episode(torch.stack([tight, wide]), 2, "cosine") == 1.0


def test_small_classes_take_no_part_in_episodes() -> None:
    x, y = blobs(60, 3, spread=0.01)
    y[:3] = 7  # one row of each: not a cluster, and too small to be drawn
    assert episodes(x, y, ways=3, shots=1, queries=5, count=10).mean == 1.0
    with pytest.raises(ConfigError, match=r"ways: found 4 with 3 classes of 6 rows or more; .* Use fewer ways"):
        episodes(x, y, ways=4, shots=1, queries=5, count=10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x, y: few_shot(x, y, x, y, k=11),
            ConfigError,
            "k: found 11; allowed: 1 to 10, the size of the smallest",
        ),
        (lambda x, y: few_shot(x, y, x, y, k=0), ConfigError, "k: found 0"),
        (lambda x, y: few_shot(x, y, x, y, k=1, draws=1), ConfigError, "draws: found 1; allowed: a whole number >= 2"),
        (lambda x, y: few_shot(x, y, x, y, k=1, C=-1), ConfigError, "C: found -1"),
        (lambda x, y: few_shot(x, y, x, y * 0 - 1, k=1), ShapeError, "^labels: found 0 known labels"),
        (lambda x, y: few_shot(x, y * 0 - 1, x, y, k=1), ShapeError, "train_labels: found 0 known labels"),
        (
            lambda x, y: label_fraction(x, y, x, y, fraction=0),
            ConfigError,
            "fraction: found 0; allowed: a number above",
        ),
        (lambda x, y: label_fraction(x, y, x, y, fraction=1.5), ConfigError, "fraction: found 1.5"),
        (lambda x, y: episodes(x, y, ways=1), ConfigError, "ways: found 1; allowed: a whole number >= 2"),
        (lambda x, y: episodes(x, y, distance="manhattan"), ConfigError, "distance: found 'manhattan'; allowed"),
    ],
)
def test_errors(call: object, error: type[Exception], text: str) -> None:
    x, y = blobs(40)
    with pytest.raises(error, match=text):
        call(x, y)  # type: ignore[operator]
