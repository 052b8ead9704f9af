"""Fine-tuning: which parts learn when, from what, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from counterpoint.errors import ConfigError, DataError
from counterpoint.methods import FINE_TUNING, Classify, Regress
from counterpoint.objectives import BarlowTwins, CoreTuning, NTXent, SupCon, SupReMix
from counterpoint.parts import Towers
from counterpoint.training.optimizers import rate
from counterpoint.training.settings import Optimization
from counterpoint.types import Batch, View
from toy import DigitNet, Digits, NoisyShifts

pytestmark = pytest.mark.unit
DATA = Digits("digits", count=200, ordered=True)
TRAIN = DATA.splits()["train"]


def material(size: int = 32) -> tuple[Batch, list[View]]:
    batch = DATA.batch(TRAIN[TRAIN % 10 != 0][:size].tolist())
    return batch, NoisyShifts(noise=0.05)(batch, torch.Generator().manual_seed(0))


def tuned(cls: type[Classify] | type[Regress], **settings) -> Classify | Regress:
    torch.manual_seed(0)
    method = cls(DigitNet(16), **settings)
    method.prepare(DATA, TRAIN)
    return method


def test_the_registry_names_tasks_and_needs_nothing_of_an_encoder() -> None:
    assert {name: part.load().task for name, part in FINE_TUNING.items()} == {n: n for n in ("classify", "regress")}
    assert all(part.load().needs == part.capabilities == frozenset() for part in FINE_TUNING.values())


def test_plain_classification_is_cross_entropy_of_the_first_view() -> None:
    method, (batch, views) = tuned(Classify, head_warmup=0.0), material()
    step = method(views, batch)
    pooled = method.encoder(views[0]).pooled
    torch.testing.assert_close(step.loss, F.cross_entropy(method.head(pooled), batch.label))
    assert step.chance == pytest.approx(math.log(10))
    batch.label = batch.label.clone()
    batch.label[8:] = -1
    torch.testing.assert_close(method(views, batch).loss, F.cross_entropy(method.head(pooled[:8]), batch.label[:8]))


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_plain_regression_learns_standardised_targets(loss: str) -> None:
    method, (batch, views) = tuned(Regress, loss=loss, views=2), material()
    known = DATA.targets[torch.from_numpy(TRAIN)]
    known = known[known.isfinite()]
    assert float(method.head.mean) == pytest.approx(float(known.mean()))
    assert float(method.head.std) == pytest.approx(float(known.std(correction=0)))
    wanted = (batch.target - known.mean()) / known.std(correction=0)
    answers = [method.head.standardised(method.encoder(view).pooled) for view in views]
    error = torch.cat(answers) - wanted.repeat(2)
    expected = error.abs().mean() if loss == "l1" else error.square().mean()
    torch.testing.assert_close(method(views, batch).loss, expected)
    spread = (known - known.mean()) / known.std(correction=0)
    level = float(spread.abs().mean()) if loss == "l1" else 1.0
    assert method(views, batch).chance == pytest.approx(level, rel=1e-5)
    batch.target = torch.full_like(batch.target, math.nan)
    batch.target[:4] = 1.0
    assert torch.isfinite(method(views, batch).loss), "unknown targets do not count"


def test_the_head_learns_alone_first() -> None:
    method, (batch, views) = tuned(Classify, head_warmup=0.3), material()
    method.total_steps = 10
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=0.1)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    for step in range(4):
        assert method.alone is (step < 3)
        method(views, batch).loss.backward()
        assert method.encoder.training is (step >= 3), "no statistics move either"
        method.after_backward()
        assert (method.encoder.conv1.weight.grad is None) is (step < 3)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
        assert "head.linear.weight" in moved
        assert ("encoder.conv1.weight" in moved) is (step >= 3)


def test_the_encoder_has_a_warm_up_of_its_own() -> None:
    method = tuned(Classify, head_warmup=0.25)
    begins = {group["begin"] for group in method.parameter_groups()}
    assert begins == {0.0, 0.25}
    assert sum(len(g["params"]) for g in method.parameter_groups()) == len(list(method.parameters()))
    plan = Optimization(warmup=0.1)
    late = [rate(step, 100, plan, 0.25) for step in range(100)]
    soon = [rate(step, 100, plan) for step in range(100)]
    assert late[:25] == [0.0] * 25 and late[25] == pytest.approx(soon[25] / 11) and late[36:] == soon[36:]
    assert all(a <= b for a, b in zip(late, soon)) and rate(3, 100, plan, 0.0) == soon[3]


@pytest.mark.parametrize(
    ("cls", "objective"),
    [(Classify, CoreTuning(mixing=False)), (Classify, SupCon()), (Regress, SupReMix(window=3.0))],
    ids=lambda o: getattr(o, "__name__", type(o).__name__),
)
def test_objectives_teach_the_encoder(cls, objective) -> None:
    method, (batch, views) = tuned(cls, objective=objective, head_warmup=0.0), material()
    step = method(views, batch)
    step.loss.backward()
    assert torch.isfinite(step.loss)
    assert float(method.encoder.conv1.weight.grad.abs().max()) > 0
    assert method.views == (1 if isinstance(objective, CoreTuning) else 2)


def test_supcon_stands_beside_cross_entropy() -> None:
    method, (batch, views) = tuned(Classify, objective=SupCon(), weight=0.5, head_warmup=0.0), material()
    step = method(views, batch)
    torch.testing.assert_close(step.loss.detach(), step.parts["cross_entropy"] + 0.5 * step.parts["contrast"])


def test_core_tuning_without_contrast_and_mixing_is_cross_entropy() -> None:
    batch, views = material()
    plain = tuned(Classify, head_warmup=0.0)
    core = tuned(Classify, objective=CoreTuning(weight=0.0, mixing=False), head_warmup=0.0)
    core.head.load_state_dict(plain.head.state_dict())
    torch.testing.assert_close(core(views, batch).loss, plain(views, batch).loss)


def test_what_is_kept_is_encoder_and_head() -> None:
    method = tuned(Regress)
    assert {name.split(".")[0] for name in method.kept.state_dict()} == {"encoder", "head"}
    assert not any("kept" in name for name in method.state_dict())


def test_classes_come_from_the_data() -> None:
    assert tuned(Classify).head.out_dim == 10
    few = np.flatnonzero(DATA.labels == 3)
    with pytest.raises(
        DataError, match=r"data: found one class \('3'\) only among the training samples; allowed: two or"
    ):
        Classify(DigitNet()).prepare(DATA, few)
    with pytest.raises(DataError, match="data: found no class among the training samples"):
        Classify(DigitNet()).prepare(DATA, few[:0])
    with pytest.raises(DataError, match="data: found 1 different targets"):
        Regress(DigitNet()).prepare(DATA, few[few % 10 != 0])
    with pytest.raises(DataError, match=r"data: found 0 different targets.*target_column"):
        Regress(DigitNet()).prepare(Digits("digits", count=60), np.arange(60))


def test_what_is_refused() -> None:
    for build, text in (
        (lambda: Classify(DigitNet(), NTXent()), r"Classify: objective: found NTXent; allowed: .*labels"),
        (lambda: Regress(DigitNet(), SupCon()), r"Regress: objective: found SupCon; allowed: .*targets"),
        (lambda: Regress(DigitNet(), BarlowTwins()), r"Regress: objective: found BarlowTwins"),
        (lambda: Classify(DigitNet(), head_warmup=1.0), r"Classify: head_warmup: found 1.0"),
        (lambda: Classify(DigitNet(), views=0), r"Classify: views: found 0"),
        (
            lambda: Classify(DigitNet(), SupCon(), weight=-1.0),
            r"Classify: weight: found -1.0; allowed: a number from 0",
        ),
        (lambda: Classify(DigitNet(), weight=1.0), r"Classify: weight: found 1.0; allowed: None"),
        (lambda: Classify(DigitNet(), labels_per_class=0), r"Classify: labels_per_class: found 0"),
        (lambda: Regress(DigitNet(), labels=1), r"Regress: labels: found 1"),
        (lambda: Regress(DigitNet(), loss="huber"), r"Regress: loss: found 'huber'; allowed: l1, mse"),  # type: ignore[arg-type]
        (lambda: Classify(Towers({"digit": DigitNet()})), r"encoder: found one of several modalities"),
    ):
        with pytest.raises(ConfigError, match=text):
            build()
    method, (batch, views) = tuned(Classify), material()
    batch.label = None
    with pytest.raises(DataError, match=r"batch.label: found None"):
        method(views, batch)


@pytest.mark.parametrize("objective", [None, SupCon()])
def test_a_batch_that_says_nothing_is_named(objective: SupCon | None) -> None:
    batch, views = material()
    method = tuned(Classify, objective=objective, head_warmup=0.0)
    batch.label = torch.full_like(batch.label, -1)
    with pytest.raises(DataError, match=r"batch.label: found no known label; allowed: one at least"):
        method(views, batch)
    batch.label = torch.full_like(batch.label, 12)
    with pytest.raises(DataError, match=r"batch.label: found 12; allowed: 0 to 9, the head's classes"):
        method(views, batch)
    batch.target = torch.full((len(batch),), math.nan)
    if objective is None:
        with pytest.raises(DataError, match=r"batch.target: found no known target; allowed: one at least"):
            tuned(Regress, head_warmup=0.0)(views, batch)
