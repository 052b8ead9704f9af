"""Canvases made of crops: boxes are where the things are, and nothing lies over anything."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, CounterpointError, DataError, ShapeError
from counterpoint_multimodal.tasks import compose
from counterpoint_multimodal.tasks.compositions import trimmed

pytestmark = pytest.mark.unit

COLOURS = torch.tensor([[200, 0, 0], [0, 150, 0], [0, 0, 200], [90, 90, 0]], dtype=torch.uint8)


@pytest.fixture(scope="module")
def crops() -> tuple[Tensor, Tensor]:
    """Four filled rectangles on white, one a class, each twice."""
    found = torch.full((8, 3, 20, 20), 255, dtype=torch.uint8)
    for number in range(8):
        found[number, :, 4:16, 6 : 10 + number] = COLOURS[number % 4, :, None, None]
    return found, torch.arange(8) % 4


def test_a_box_holds_its_thing_and_nothing_else_is_dark(crops: tuple[Tensor, Tensor]) -> None:
    made = compose(*crops, count=20, side=48, things=(2, 3), seed=3)
    assert made.images.shape == (20, 3, 48, 48)
    assert made.labels.shape == (20, 3, 5)
    for image, labels in zip(made.images, made.labels):
        covered = torch.zeros(48, 48, dtype=torch.bool)
        for name, *edges in labels[labels[:, 0] >= 0].tolist():
            left, top, right, bottom = (round(48 * edge) for edge in edges)
            inside = image[:, top:bottom, left:right].float()
            darkest = (255 - COLOURS[int(name)].float()).argmax()
            assert inside[darkest].mean() < 150
            covered[top:bottom, left:right] = True
        assert image[:, ~covered].min() >= 200


def test_things_are_of_different_classes_and_apart(crops: tuple[Tensor, Tensor]) -> None:
    made = compose(*crops, count=40, things=(1, 4), scale=(0.2, 0.5))
    counts = set()
    for labels, which in zip(made.labels, made.crops):
        there = labels[:, 0] >= 0
        names, boxes = labels[there, 0], labels[there, 1:]
        counts.add(len(names))
        assert len(names.unique()) == len(names) >= 1
        assert torch.equal(crops[1][which[there]].float(), names)
        assert (which[~there] == -1).all()
        assert boxes.min() >= 0
        assert boxes.max() <= 1
        for one, two in itertools.combinations(boxes.tolist(), 2):
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        longer = (boxes[:, 2:] - boxes[:, :2]).max(1).values
        assert longer.min() >= 0.18
        assert longer.max() <= 0.52
    assert {1, 2, 3} <= counts


def test_a_seed_gives_the_same_canvases_and_another_others(crops: tuple[Tensor, Tensor]) -> None:
    one, two, other = (compose(*crops, count=3, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.labels, two.labels)
    assert not torch.equal(one.images, other.images)
    assert len(one) == 3


def test_crops_of_unlike_sizes_and_unknown_classes(crops: tuple[Tensor, Tensor]) -> None:
    images, classes = [*crops[0].clone()], crops[1].clone()
    images[1], classes[0] = images[1][:, :, :17], -1
    made = compose(images, classes, count=20)
    assert 0 not in made.crops
    assert 1 in made.crops


def test_paper_is_cut_off_where_there_is_paper(crops: tuple[Tensor, Tensor]) -> None:
    assert trimmed(crops[0][3]).shape == (3, 12, 7)
    for whole in (torch.full((3, 9, 9), 255, dtype=torch.uint8), torch.zeros(3, 9, 9, dtype=torch.uint8)):
        assert trimmed(whole).shape == (3, 9, 9)
    scene = torch.randint(0, 256, (3, 9, 9), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(trimmed(scene), scene)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"things": (3, 5)}, DataError, "classes: found 4 of them; allowed: at least 5, as many as on a canvas"),
        ({"things": (3, 2)}, ConfigError, "things: found (3, 2); allowed: the fewest and the most, from 1"),
        ({"scale": (0.5, 1.5)}, ConfigError, "scale: found (0.5, 1.5); allowed: the smallest and the largest"),
        ({"classes": torch.zeros(3)}, ShapeError, "classes: found 3 for 8 crops; allowed: one for each crop"),
    ],
)
def test_what_does_not_fit_is_refused(
    crops: tuple[Tensor, Tensor], options: dict[str, object], kind: type[CounterpointError], text: str
) -> None:
    with pytest.raises(kind) as caught:
        compose(**{"crops": crops[0], "classes": crops[1], "count": 1, **options})  # type: ignore[arg-type]
    assert text in str(caught.value)
