"""Understanding and grounding on visual tokens: it learns, and it measures what it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, ShapeError
from counterpoint_multimodal.encoders import Fusion, Stack
from counterpoint_multimodal.tasks import Grounded, Grounding
from counterpoint_multimodal.tasks.decoder import Decoder, overlap

pytestmark = pytest.mark.unit

CLASSES, SIDE, WIDTH = 3, 4, 8


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens of a 4 x 4 grid with two things, each in a cell of its own, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    tokens = 0.1 * torch.randn(count, SIDE * SIDE, WIDTH, generator=generator)
    labels = torch.full((count, 3, 5), -1.0)
    for scene in range(count):
        names = torch.randperm(CLASSES, generator=generator)[:2]
        cells = torch.randperm(SIDE * SIDE, generator=generator)[:2]
        for thing, (name, cell) in enumerate(zip(names.tolist(), cells.tolist())):
            tokens[scene, cell, name] += 2
            top, left = divmod(cell, SIDE)
            labels[scene, thing] = torch.tensor([name, *(e / SIDE for e in (left, top, left + 1, top + 1))])
    return tokens, labels


@pytest.fixture(scope="module")
def fitted() -> Grounding:
    return Grounding(width=32, heads=2, epochs=40, batch_size=32, learning_rate=3e-3).fit(*scenes(200, 0))


def test_it_learns_what_is_where(fitted: Grounding) -> None:
    found = fitted.evaluate(*scenes(60, 1))
    assert found["understanding[top-n]"] > 0.95
    assert found["understanding[all]"] > 0.9
    assert found["pointing[in box]"] > 0.8
    assert found["distance[centre]"] < 0.12
    untrained = Grounding(width=32, heads=2, epochs=1, learning_rate=1e-9).fit(*scenes(60, 0))
    assert untrained.evaluate(*scenes(60, 1))["pointing[in box]"] < 0.4


def test_metrics_are_those_of_what_is_predicted(fitted: Grounding) -> None:
    tokens, labels = scenes(20, 2)
    found, metrics = fitted.predict(tokens), fitted.evaluate(tokens, labels)
    assert isinstance(found, Grounded)
    assert found.scores.shape == (20, CLASSES)
    assert found.boxes.shape == (20, CLASSES, 4)
    torch.testing.assert_close(found.scores.exp().sum(1), torch.ones(20))
    shares, ious, inside, far = [], [], [], []
    for scene in range(20):
        there = labels[scene][labels[scene, :, 0] >= 0]
        names = there[:, 0].long().tolist()
        best = found.scores[scene].topk(len(names)).indices.tolist()
        shares.append(len({*best} & {*names}) / len(names))
        for name, true in zip(names, there[:, 1:]):
            box = found.boxes[scene, name]
            ious.append(float(overlap(box, true)[0]))
            centre, aim = (box[:2] + box[2:]) / 2, (true[:2] + true[2:]) / 2
            inside.append(bool((centre >= true[:2]).all() and (centre <= true[2:]).all()))
            far.append(float((centre - aim).norm()))
    means = {
        "understanding[top-n]": shares,
        "understanding[all]": [share == 1 for share in shares],
        "grounding[IoU=0.5]": [iou >= 0.5 for iou in ious],
        "grounding[IoU]": ious,
        "pointing[in box]": inside,
        "distance[centre]": far,
    }
    assert metrics == {name: pytest.approx(sum(values) / len(values), rel=1e-5) for name, values in means.items()}


def test_one_class_a_picture_is_a_thing_that_fills_it() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    features = torch.eye(WIDTH)[labels] + 0.1 * torch.randn(40, WIDTH, generator=generator)
    task = Grounding(width=16, heads=2, epochs=80, batch_size=40, learning_rate=1e-2).fit(features, labels)
    metrics = task.evaluate(features, labels)
    assert metrics["understanding[all]"] == 1
    assert metrics["grounding[IoU]"] > 0.7


def test_what_is_unknown_does_not_count(fitted: Grounding) -> None:
    tokens, labels = scenes(10, 3)
    before = fitted.evaluate(tokens, labels)
    more = torch.cat([labels, torch.full((2, 3, 5), -1.0)])
    assert fitted.evaluate(torch.cat([tokens, torch.randn(2, 16, WIDTH)]), more) == before
    strange = torch.cat([labels, torch.tensor([CLASSES, 0, 0, 1, 1.0]).expand(10, 1, 5)], 1)
    assert fitted.evaluate(tokens, strange) == before


def test_the_same_seed_learns_the_same_and_the_connector_given_is_left_alone() -> None:
    tokens, labels = scenes(12, 0)
    connector = nn.Linear(WIDTH, 4)
    before = connector.weight.clone()
    tasks = [Grounding(connector, width=16, heads=2, epochs=2).fit(tokens, labels) for _ in range(2)]
    one, two = (task.predict(tokens) for task in tasks)
    assert torch.equal(one.boxes, two.boxes)
    assert torch.equal(connector.weight, before)
    other = Grounding(connector, width=16, heads=2, epochs=2, seed=1).fit(tokens, labels)
    assert not torch.equal(other.predict(tokens).boxes, one.boxes)


def test_a_fusion_is_learnt_with_the_decoder() -> None:
    tokens, labels = scenes(30, 0)
    stacks = torch.stack([tokens, tokens.flip(-1)], 1).half(), torch.randn(30, 3, 9, 6).half()
    fusion = Fusion(Stack(2, WIDTH), Stack(3, 6), dim=16, heads=2, pool=False)
    losses: list[float] = []
    task = Grounding(fusion, width=16, heads=2, epochs=4, batch_size=8)
    assert task.fit(stacks, labels, losses.append) is task
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    learnt = task._network.connector  # type: ignore[union-attr]
    assert learnt.attention.gate.item() != 0
    assert fusion.attention.gate.item() == 0
    assert task.predict([stack[:1] for stack in stacks]).boxes.shape == (1, CLASSES, 4)


def test_questions_do_not_see_each_other() -> None:
    decoder = Decoder(4, WIDTH, CLASSES, width=16, heads=2).eval()
    tokens = torch.randn(2, 4, WIDTH)
    logits, boxes = decoder(tokens, torch.tensor([[0, 1, 2]]).expand(2, -1))
    fewer, alone = decoder(tokens, torch.tensor([[2], [2]]))
    torch.testing.assert_close(alone[:, 0], boxes[:, 2])
    torch.testing.assert_close(fewer, logits)


@pytest.mark.parametrize(
    ("two", "iou", "giou"),
    [
        ((0, 0, 1, 1), 1, 1),
        ((0, 0, 0.5, 1), 0.5, 0.5),
        ((2, 0, 3, 1), 0, -1 / 3),
        ((0.5, 0.5, 1.5, 1.5), 1 / 7, 1 / 7 - 0.5 / 2.25),
        ((1, 1, 1, 1), 0, 0),
    ],
)
def test_overlap(two: tuple[float, ...], iou: float, giou: float) -> None:
    found = overlap(torch.tensor([0.0, 0, 1, 1]), torch.tensor(two, dtype=torch.float32))
    assert [float(value) for value in found] == [pytest.approx(iou), pytest.approx(giou)]


def test_what_does_not_fit_is_refused(fitted: Grounding) -> None:
    tokens, labels = scenes(4, 0)
    with pytest.raises(ConfigError, match="Grounding: found nothing learnt yet; allowed: fit before predict"):
        Grounding().predict(tokens)
    with pytest.raises(ConfigError, match="epochs: found 0"):
        Grounding(epochs=0)
    with pytest.raises(ConfigError, match="multiples of 4"):
        Grounding(width=30)
    for wrong, text in (
        (None, "labels: found none"),
        (labels[:3], r"labels: found \(3, 3, 5\) for features \(4, 16, 8\)"),
    ):
        with pytest.raises(ShapeError, match=text):
            Grounding().fit(tokens, wrong)
    with pytest.raises(ShapeError, match="labels: found none; allowed: at least one class >= 0"):
        Grounding().fit(tokens, torch.full((4,), -1))
    with pytest.raises(ShapeError, match="labels: found none that was learnt; allowed: classes from 0 to 2"):
        fitted.evaluate(tokens, torch.full((4,), 7))
    with pytest.raises(ShapeError, match="Anything else needs a connector"):
        Grounding().fit([tokens, tokens], labels)
