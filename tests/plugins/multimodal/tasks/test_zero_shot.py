"""Classes by prompts: the formula, what is filled in, accuracies by hand, and refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from coloured import AsTheyAre, Told
from counterpoint.errors import ConfigError, DataError, ShapeError
from counterpoint_multimodal.tasks import TEMPLATES, ZeroShot
from counterpoint_multimodal.tasks.zero_shot import prompts, top_accuracies

pytestmark = pytest.mark.unit


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_class_is_the_mean_of_its_prompts_directions_and_of_length_one() -> None:
    features, labels = 9 * gaussian(12, 5), torch.tensor([0, 1, 2, -1] * 3)
    task = ZeroShot().fit(features, labels)
    unit = normalize(features, dim=1)
    expected = normalize(torch.stack([unit[labels == c].mean(dim=0) for c in range(3)]), dim=1)
    torch.testing.assert_close(task.vectors, expected)
    asked = gaussian(20, 5, seed=1)
    torch.testing.assert_close(task.scores(asked), normalize(asked, dim=1) @ expected.T)
    assert torch.equal(task.predict(asked), (asked @ expected.T).argmax(dim=1))
    assert task.predict(asked[:0]).tolist() == []


def test_prompts_are_every_template_with_every_name() -> None:
    texts, labels = prompts(["t_shirt", "  sun  hat "], ["{}", "a {} on white"])
    assert texts == ["t shirt", "a t shirt on white", "sun hat", "a sun hat on white"]
    assert labels.tolist() == [0, 0, 1, 1]
    assert TEMPLATES[0] == "{}"
    odd, _ = prompts(["{0} and {}"], ["a {}"])
    assert odd == ["a {0} and {}"]  # a name is no template


def test_classes_are_read_by_the_encoder_through_the_head_that_is_asked() -> None:
    sides = {"cat": 0, "dog": 1}

    def text(words: str, role: str) -> Tensor:
        vector = torch.zeros(4)
        vector[2 * (role == "local") + sides.get(words.split()[-1], 0)] = 1.0
        return vector

    encoder = Told(lambda colour, role: torch.zeros(4), text)
    task = ZeroShot().fit_classes(encoder, AsTheyAre(), ["dog", "cat"])
    assert task.vectors.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    local = ZeroShot().fit_classes(encoder, AsTheyAre(), ["dog", "cat"], role="local")
    assert local.vectors.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


def test_accuracies_by_hand() -> None:
    scores = torch.tensor([[9.0, 1, 2], [1, 2, 9], [1, 9, 2], [9, 2, 1], [0, 0, 9]])
    labels = torch.tensor([0, 1, 1, 0, -1])
    assert top_accuracies(scores, labels, ks=[1, 2, 3]) == {"zero_shot@1": 0.75, "zero_shot@2": 1.0}
    uneven = top_accuracies(scores, torch.tensor([0, 0, 1, 0, -1]))
    assert uneven == {"zero_shot@1": 0.75, "zero_shot@1,balanced": pytest.approx((2 / 3 + 1) / 2)}
    assert ZeroShot().fit(gaussian(1, 3), torch.tensor([0])).evaluate(gaussian(4, 3), torch.zeros(4).long()) == {
        "zero_shot@1": 1.0
    }


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: prompts([]), DataError, "classes: found none"),
        (lambda: prompts(["a", "_"]), DataError, "classes: found an empty name"),
        (lambda: prompts(["a b", "c", "a_b"]), DataError, "classes: found 'a b' twice"),
        (lambda: prompts(["a"], []), ConfigError, "templates: found none"),
        (lambda: prompts(["a"], ["{}", "a photo"]), ConfigError, "templates: found 'a photo'; allowed: each with one"),
        (lambda: ZeroShot(ks=[0]), ConfigError, "ks: found 0"),
        (lambda: ZeroShot().predict(gaussian(2, 3)), ConfigError, "fit before predict"),
        (lambda: ZeroShot().fit(gaussian(2, 3)), ShapeError, "labels: found none"),
        (lambda: ZeroShot().fit(gaussian(2, 3), torch.tensor([0, 2])), ShapeError, "no prompt of class 1"),
        (lambda: ZeroShot().fit(gaussian(2, 3), torch.tensor([-1, -1])), ShapeError, "found no prompt;"),
        (lambda: ZeroShot().fit(gaussian(1, 3), torch.tensor([0])).predict(gaussian(2, 4)), ShapeError, "4 dimensions"),
        (lambda: top_accuracies(gaussian(2, 3), torch.tensor([-1, -1])), ShapeError, "labels: found 0 rows"),
        (lambda: top_accuracies(gaussian(2, 3), torch.tensor([0, 3])), ShapeError, "class 3; allowed: below 3"),
    ],
)
def test_errors(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()  # type: ignore[operator]
