"""A loss that is no number stops the run before it reaches the weights, and names the samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import toy
from counterpoint.errors import Interrupted, ShapeError, TrainingError
from counterpoint.training.checkpoints import LAST
from counterpoint.training.guards import StepGuard
from counterpoint.training.pretrain import pretrain
from counterpoint.types import Batch, View

pytestmark = pytest.mark.unit

SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 16, "tensorboard": False, "progress": False}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


def weights(run: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run / LAST, weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize("method", ["simclr", "swav", "vicreg"])
def test_a_poisoned_sample_is_named(method: str, tmp_path: Path) -> None:
    train = toy.Digits("digits", count=100).splits()["train"]
    poisoned = int(train[11])
    more = {"method": {"prototypes": 8}} if method == "swav" else {}
    with pytest.raises(TrainingError) as caught:
        pretrain(
            f"toy/{method}",
            data="digits",
            out=tmp_path,
            dataset={"count": 100, "poisoned": poisoned},
            save_steps=1,
            **more,
            **SMALL,
        )
    found = json.loads((tmp_path / "non-finite.json").read_text())
    step, told = found["step"], str(caught.value)
    assert told.startswith(f"Stopped in step {step}: ")
    assert f"Samples with numbers that are not finite: {poisoned} (digit-{poisoned}) " in told
    assert f"all 16 of the batch are in {tmp_path / 'non-finite.json'}" in told
    assert "The last checkpoint is untouched." in told
    assert found["not_finite"] == [poisoned]
    assert found["names"] == [f"digit-{index}" for index in found["indices"]]
    assert len(found["indices"]) == 16
    assert set(found["indices"]) <= set(train.tolist())
    assert not (tmp_path / "run.json").exists()
    if step:
        saved = weights(tmp_path)
        assert int(saved["steps"]) == step
        assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.values())


def test_weights_are_those_before_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of step 3 is made infinite: nothing of that step is in the method afterwards."""
    from counterpoint.methods import SimCLR

    step, methods = SimCLR.step, []

    def broken(self: SimCLR, views: list[View], batch: Batch) -> Any:
        told = step(self, views, batch)
        if int(self.steps) == 3:
            methods.append((self, {k: v.clone() for k, v in self.state_dict().items() if "running" not in k}))
            told.loss = told.loss * float("inf")
        return told

    monkeypatch.setattr(SimCLR, "step", broken)
    with pytest.raises(
        TrainingError, match=r"Stopped in step 3: the loss is inf. All views are finite. The batch: \d+ \(digit-"
    ):
        pretrain("toy/simclr", out=tmp_path, dataset={"count": 100}, **SMALL)
    method, before = methods[0]
    for name, tensor in before.items():
        if "num_batches" not in name:
            assert torch.equal(method.state_dict()[name], tensor), name


def test_a_finite_loss_with_a_broken_gradient_does_not_reach_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from counterpoint.methods import SimCLR

    def break_gradient(self: SimCLR) -> None:
        if int(self.steps) == 4:
            next(self.encoder.parameters()).grad.fill_(float("nan"))  # type: ignore[union-attr]

    monkeypatch.setattr(SimCLR, "after_backward", break_gradient)
    with pytest.raises(TrainingError, match=r"encoder.conv1.weight is not finite after step 5, though the loss was"):
        pretrain("toy/simclr", out=tmp_path, dataset={"count": 100}, save_steps=1, **SMALL)
    saved = weights(tmp_path)
    assert int(saved["steps"]) == 4
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved.values())


class Ranked:
    """As much of a trainer as the guard looks at."""

    def __init__(self, rank: int) -> None:
        self.global_step, self.global_rank, self.world_size = 7, rank, 1


def explained(rank: int, tmp_path: Path, reason: str, bad: bool) -> Exception:
    dataset = toy.Digits("digits", count=8)
    batch = dataset.batch([3, 5])
    data = torch.zeros(2, 8, 8)
    data[1] = float("nan") if bad else 0.0
    guard = StepGuard(tmp_path, dataset, seed=0)
    guard.on_train_batch_start(Ranked(rank), None, (batch, [View(data, "digit")]), 0)  # type: ignore[arg-type]
    with pytest.raises((TrainingError, Interrupted)) as caught, guard.explaining():
        raise ShapeError(reason)
    return caught.value


def test_of_several_processes_the_first_speaks_and_the_others_add_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(explained(0, tmp_path, "NaN on another rank", bad=False), TrainingError)
    assert isinstance(explained(1, tmp_path, "NaN on another rank", bad=False), Interrupted)
    assert capsys.readouterr().err == ""
    assert isinstance(explained(1, tmp_path, "NaN in row 1", bad=True), Interrupted)
    assert capsys.readouterr().err.startswith("Process 1: Stopped in step 7: NaN in row 1. Samples with numbers")


def test_errors_outside_of_a_step_are_left_alone(tmp_path: Path) -> None:
    guard = StepGuard(tmp_path, toy.Digits("digits", count=8), seed=0)
    with pytest.raises(ShapeError, match="as it was"), guard.explaining():
        raise ShapeError("as it was")
    assert not list(tmp_path.iterdir())


def test_each_step_has_its_own_seed(tmp_path: Path) -> None:
    guard = StepGuard(tmp_path, toy.Digits("digits", count=8), seed=0)
    batch = guard.dataset.batch([0, 1])
    draws = []
    for step, rank in ((0, 0), (1, 0), (0, 1), (0, 0)):
        trainer = Ranked(rank)
        trainer.global_step = step
        guard.on_train_batch_start(trainer, None, (batch, []), 0)  # type: ignore[arg-type]
        draws.append(float(torch.rand(())))
    assert draws[0] == draws[3]
    assert len(set(draws)) == 3
