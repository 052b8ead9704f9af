"""Base classes, new classes, and the mean of the two."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError, ShapeError
from counterpoint_multimodal.tasks.prompts import base_to_new, harmonic_mean

pytestmark = pytest.mark.unit


class Reads:
    """Finds the class that is written in the image's first value, or says the first."""

    def __init__(self, known: set[int]) -> None:
        self.known, self.asked = known, []

    def predict(self, images, classes=None):
        self.asked.append(list(classes))
        written = [int(image.flatten()[0]) for image in images]
        return torch.tensor([classes.index(f"c{one}") if one in self.known else 0 for one in written])


def test_harmonic_mean():
    assert harmonic_mean(0.3, 0.3) == pytest.approx(0.3)
    assert harmonic_mean(0.0, 0.7) == harmonic_mean(0.7, 0.0) == harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3)
    assert harmonic_mean(0.8421, 0.7732) == pytest.approx(0.8062, abs=1e-4)  # the paper's own row
    with pytest.raises(ConfigError, match="base, new: found"):
        harmonic_mean(-0.1, 0.5)


def test_each_kind_is_told_from_its_own_kind_only():
    labels = torch.tensor([0, 1, 2, 3, 4, 3, -1])
    images = labels.clamp(min=0).to(torch.uint8)[:, None, None, None].expand(7, 3, 2, 2)
    task = Reads({0, 1, 3})
    names = [f"c{number}" for number in range(5)]
    found = base_to_new(task, images, labels, names, base=[1, 0])
    assert task.asked == [["c0", "c1"], ["c2", "c3", "c4"]]
    assert found == {"base": 1.0, "new": 0.75, "harmonic_mean": pytest.approx(2 * 0.75 / 1.75)}
    assert base_to_new(task, list(images), labels, names, base=[0, 1]) == found


def test_errors():
    images, names = torch.zeros(2, 3, 2, 2, dtype=torch.uint8), ["c0", "c1", "c2", "c3"]
    with pytest.raises(ShapeError, match=r"labels: found shape \(3,\); allowed: \(2,\)"):
        base_to_new(Reads(set()), images, torch.zeros(3), names, [0, 1])
    with pytest.raises(ShapeError, match="labels: found no image of a new class"):
        base_to_new(Reads(set()), images, torch.tensor([0, 1]), names, [0, 1])
