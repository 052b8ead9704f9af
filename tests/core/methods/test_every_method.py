"""What holds for every entry of the registry: needs, steps, overfitting, exact continuation, refusals."""

from __future__ import annotations

import io
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterpoint import methods
from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import METHODS, Method
from counterpoint.nn import DINOHead, Predictor, Projector
from counterpoint.parts import Encoder, Towers
from counterpoint.types import Batch, Encoding, Step, View
from toy import DigitNet, Digits, NoisyShifts

pytestmark = pytest.mark.unit

SMALL = partial(Projector, hidden_dim=32, out_dim=16)
NORMED = partial(Projector, hidden_dim=32, out_dim=16, layers=3, last_norm=True)
PREDICTOR = partial(Predictor, hidden_dim=16)
HEADS: dict[str, dict[str, Any]] = {
    "simclr": {"projector": SMALL},
    "moco": {"projector": SMALL, "queue_size": 40},
    "mocov3": {"projector": NORMED, "predictor": PREDICTOR},
    "swav": {"projector": SMALL, "prototypes": 8, "queue_size": 40, "queue_after": 0.2, "freeze_share": 0.2},
    "byol": {"projector": SMALL, "predictor": PREDICTOR},
    "simsiam": {"projector": NORMED, "predictor": PREDICTOR},
    "barlowtwins": {"projector": SMALL},
    "vicreg": {"projector": SMALL},
    "dino": {"projector": partial(DINOHead, prototypes=16, hidden_dim=32, bottleneck_dim=16)},
    "pair": {},
    "sepclr": {"projector": partial(Projector, hidden_dim=32, out_dim=8), "code": 8},  # digit 0 is the background
}
ALL = pytest.mark.parametrize("name", METHODS)


def make(name: str, dropout: float = 0.0, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    towers = Towers({"digit": DigitNet(16, dropout), "other": DigitNet(16, dropout)})
    encoder = towers if name == "pair" else DigitNet(16, dropout)
    method: Method = METHODS[name].load()(encoder, **HEADS[name])
    return method


def material(name: str, step: int = 0, size: int = 16) -> tuple[list[View], Batch]:
    batch = digits().batch(range(size * step, size * (step + 1)))
    views = NoisyShifts(noise=0.1)(batch, torch.Generator().manual_seed(step))
    if name == "pair":
        views[1].modality = "other"
    return views, batch


def digits(made: list[Digits] = []) -> Digits:  # noqa: B006
    made or made.append(Digits("digits", count=320))
    return made[0]


def train(method: Method, optimizer: torch.optim.Optimizer, views: list[View], batch: Batch) -> Step:
    step: Step = method(views, batch)
    step.loss.backward()
    method.after_backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step()
    return step


def optimizer_of(method: Method, lr: float = 1e-2) -> torch.optim.Optimizer:
    return torch.optim.AdamW(method.parameter_groups(), lr=lr, weight_decay=1e-3)


@ALL
def test_needs_are_what_the_registry_says(name: str) -> None:
    cls = METHODS[name].load()
    assert cls.needs == METHODS[name].capabilities
    assert issubclass(cls, Method)
    assert getattr(methods, cls.__name__) is cls


@ALL
def test_a_tiny_batch_can_be_learnt_by_heart(name: str) -> None:
    method = make(name)
    method.total_steps = 40
    optimizer, (views, batch) = optimizer_of(method), material(name)
    told = [train(method, optimizer, views, batch) for _ in range(40)]
    losses = [float(step.loss.detach()) for step in told]
    assert all(map(math.isfinite, losses))
    if name == "dino":  # the teacher's entropy rises while it is being centred; what the student can lessen is the rest
        losses = [float(step.parts["kl"]) for step in told]
        losses = losses[losses.index(max(losses)) :]
    start = 3 if name == "moco" else 0  # the loss grows with the queue first
    assert losses[-1] < losses[start] - 0.1 * abs(losses[start])
    assert int(method.steps) == 40


@ALL
def test_a_step_tells_what_monitors_want(name: str) -> None:
    method, (views, batch) = make(name), material(name)
    step = method(views, batch)
    assert step.loss.shape == ()
    assert step.loss.requires_grad
    assert not any(value.requires_grad or value.numel() != 1 for value in step.parts.values())
    assert step.pair is not None
    first, second = step.pair
    assert first.shape == second.shape == (len(batch), first.shape[1])
    assert not first.requires_grad
    assert not second.requires_grad
    assert (step.chance is None) == (name in ("byol", "simsiam", "sepclr"))
    assert method.last_step is not None
    assert not method.last_step.loss.requires_grad  # or the graph would live until the next step
    assert torch.equal(method.last_step.loss, step.loss.detach())


@ALL
def test_every_trainable_parameter_gets_a_gradient_and_is_optimised_once(name: str) -> None:
    method, (views, batch) = make(name), material(name)
    method(views, batch).loss.backward()
    trainable = {n: p for n, p in method.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trainable.values()), [n for n, p in trainable.items() if p.grad is None]
    assert not any(p.grad is not None for p in method.parameters() if not p.requires_grad)
    groups = method.parameter_groups()
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(map(id, trainable.values()))
    decayed = [group.get("weight_decay", 1.0) > 0 for group in groups for _ in group["params"]]
    assert decayed == [p.ndim > 1 for group in groups for p in group["params"]]


@ALL
def test_a_resumed_training_is_bitwise_the_undisturbed_one(name: str) -> None:
    def steps(method: Method, optimizer: torch.optim.Optimizer, numbers: range) -> None:
        method.total_steps = 8
        for number in numbers:
            torch.manual_seed(100 + number)  # dropout
            train(method, optimizer, *material(name, number))

    whole = make(name, dropout=0.2)
    optimizer = optimizer_of(whole)
    steps(whole, optimizer, range(4))
    saved = io.BytesIO()
    torch.save({"method": whole.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    steps(whole, optimizer, range(4, 8))
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    resumed = make(name, dropout=0.2, seed=1)
    again = optimizer_of(resumed)
    resumed.load_state_dict(state["method"])
    again.load_state_dict(state["optimizer"])
    steps(resumed, again, range(4, 8))
    assert whole.state_dict().keys() == resumed.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert int(resumed.steps) == 8


@ALL
def test_too_few_views_one_sample_and_other_rows_are_refused(name: str) -> None:
    method, (views, batch) = make(name), material(name)
    called = type(method).__name__
    with pytest.raises(ShapeError, match=rf"{called}: views: found 1 view\(s\); allowed: at least 2"):
        method(views[:1], batch)
    one = material(name, size=1)
    with pytest.raises(
        ShapeError, match=rf"{called}: batch: found 1 sample\(s\); allowed: at least 2.*raise batch_size"
    ):
        method(*one)
    views[1].data = views[1].data[:5]
    with pytest.raises(ShapeError, match=rf"{called}: views\[1\]: found 5 rows; allowed: 16, as in the batch"):
        method(views, batch)


@ALL
def test_dataset_without_labels_and_with_nan(name: str) -> None:
    method, (views, batch) = make(name), material(name)
    if not method.contrasted:  # whose only label is the origin
        batch.label = None
    assert torch.isfinite(method(views, batch).loss)
    views[0].data[3] = torch.nan
    try:
        loss = float(method(views, batch).loss.detach())
    except ShapeError as error:
        assert "NaN" in str(error)
    else:
        assert not math.isfinite(loss)  # which stops the trainer


def test_an_encoder_without_what_is_needed_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        methods.Pair(DigitNet())
    assert str(caught.value) == "Pair needs modalities, which DigitNet does not have (it has: tokens)"


def test_towers_of_unequal_width_are_refused_where_there_is_one_projector() -> None:
    towers = Towers({"digit": DigitNet(16), "other": DigitNet(24)})
    told = {frozenset(): r"towers of unequal width \(digit 16, other 24\); allowed: one width"}
    for part in METHODS.values():
        if "modalities" not in part.capabilities:
            match = told.get(part.capabilities - {"inductive"}, "needs unimodal, which Towers does not have")
            with pytest.raises(ConfigError, match=match):
                part.load()(towers)
    views, batch = material("pair")
    assert torch.isfinite(methods.Pair(towers)(views, batch).loss)


class Counting(Encoder):
    """Notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.shown = 4, []
        self.linear = nn.Linear(1, 4)

    def forward(self, view: View) -> Encoding:
        self.shown.append((view.modality, view.role, len(view.data)))
        rows = torch.stack([row.float().mean()[None] for row in view.data])
        return Encoding(self.linear(rows))


class Bare(Method):
    """The frame alone."""

    def step(self, views: list[View], batch: Batch) -> Step:
        return Step(torch.stack([p.sum() for p in self.pooled(views)]).sum())


def test_views_of_one_kind_go_through_the_encoder_together_and_come_back_apart() -> None:
    method = Bare(Counting())
    kinds = [
        ("a", "global", 8),
        ("a", "global", 8),
        ("a", "local", 8),
        ("a", "local", 5),
        ("a", "local", 5),
        ("a", "local", 4),
        ("b", "local", 4),
    ]
    views = [View(torch.randn(3, size, size), modality, role) for modality, role, size in kinds]
    together = method.pooled(views)
    local = [("a", "local", 3), ("a", "local", 6), ("a", "local", 3), ("b", "local", 3)]
    assert method.encoder.shown == [("a", "global", 6), *local]
    alone = [method.pooled([view])[0] for view in views]
    assert len(together) == len(alone)
    for a, b in zip(together, alone):
        torch.testing.assert_close(a, b)


def test_lists_of_unlike_tensors_go_one_view_at_a_time() -> None:
    method = Bare(Counting())
    views = [View([torch.randn(2 + i) for i in range(3)], "cloud") for _ in range(2)]
    assert [p.shape for p in method.pooled(views)] == [(3, 4), (3, 4)]
    assert method.encoder.shown == [("cloud", "global", 3)] * 2
    method.micro_batch = 2
    method.encoder.shown.clear()
    assert [p.shape for p in method.pooled(views)] == [(3, 4), (3, 4)]
    assert method.encoder.shown == [("cloud", "global", 2), ("cloud", "global", 1)] * 2


def dense(first: Tensor, second: Tensor, ids: Tensor, temperature: float, own_view: bool) -> Tensor:
    """InfoNCE row by row: the positive, and the other samples of other ids in the second view (and in the first)."""
    a, b = nn.functional.normalize(first, dim=1), nn.functional.normalize(second, dim=1)
    terms = []
    for i in range(len(a)):
        positive = (a[i] @ b[i] / temperature).exp()
        others = [j for j in range(len(a)) if ids[j] != ids[i]]
        negatives = sum(
            (a[i] @ b[j] / temperature).exp() + own_view * (a[i] @ a[j] / temperature).exp() for j in others
        )
        terms.append(-(positive / (positive + negatives)).log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("name", "temperature"), [("simclr", 0.2), ("moco", 0.2), ("mocov3", 0.2), ("pair", 0.07)])
def test_a_duplicate_is_no_negative(name: str, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    views, batch = material(name, size=5)
    for view in views:
        view.data = torch.cat([view.data, view.data[:1]])
    losses = []
    for last in (int(batch.content[0]), 99):  # marked, and not
        method = make(name).eval()
        seen: list[tuple[Tensor, Tensor]] = []
        forward = method.objective.forward
        monkeypatch.setattr(
            method.objective,
            "forward",
            lambda pair, *r, f=forward, s=seen, **o: s.append(tuple(pair)) or f(pair, *r, **o),
        )
        content = torch.cat([batch.content, torch.tensor([last])])
        loss = method(views, Batch(batch.data, torch.arange(6), content)).loss
        directions = [*seen, *[(b, a) for a, b in seen if len(seen) == 1]]
        wanted = torch.stack([dense(a, b, content, temperature, name == "simclr") for a, b in directions]).mean()
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
        losses.append(float(loss.detach()))
    assert losses[0] < losses[1] - 0.01
