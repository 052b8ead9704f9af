"""Checkpoints: the old one stays until the new one is whole; nothing but tensors is read; signals are given back."""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

import toy
from counterpoint.errors import Interrupted, RunError, TrainingError
from counterpoint.training.checkpoints import LAST, checkpoint_step
from counterpoint.training.pretrain import pretrain
from counterpoint.training.stops import LeaveNow, StopRequest

pytestmark = pytest.mark.unit

SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 16, "tensorboard": False, "progress": False}
SMALL |= {"dataset": {"count": 80}}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy.install(monkeypatch)


class Touched:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = Trainer.save_checkpoint, []

    def full(self: Trainer, path: Path, *args: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args)

    monkeypatch.setattr(Trainer, "save_checkpoint", full)
    with pytest.raises(TrainingError) as caught:
        pretrain("toy/simclr", out=tmp_path, save_steps=1, **SMALL)
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / LAST}: cannot be written (No space left on device).")
    assert (
        f"The checkpoint before it is untouched; make room and go on with: counterpoint pretrain --resume {tmp_path}"
        in told
    )
    assert checkpoint_step(tmp_path / LAST) == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    monkeypatch.undo()
    toy.install(monkeypatch)
    assert pretrain(resume=tmp_path).path == tmp_path
    assert checkpoint_step(tmp_path / LAST) == 6


@pytest.mark.parametrize("content", ["pickle", "torn", "empty", "foreign"])
def test_a_checkpoint_that_is_none_is_refused_and_never_run(content: str, tmp_path: Path) -> None:
    run, payload = tmp_path / "run", tmp_path / "payload"
    with pytest.raises(TrainingError):
        pretrain("toy/simclr", out=run, save_steps=1, **{**SMALL, "dataset": {"count": 80, "poisoned": _late()}})
    last = run / LAST
    whole = last.read_bytes()
    if content == "pickle":
        torch.save({"global_step": Touched(payload), "state_dict": {}}, last)
    elif content == "foreign":
        torch.save({"weights": torch.ones(2)}, last)
    else:
        last.write_bytes(whole[: len(whole) // 2] if content == "torn" else b"")
    with pytest.raises(
        RunError, match=r"last.ckpt: is no checkpoint that can be read \(.*Remove it, and --resume begins"
    ):
        pretrain(resume=run)
    assert not payload.exists()
    last.write_bytes(whole)
    assert checkpoint_step(last) > 0


def _late() -> int:
    """A training sample that is drawn after the first step."""
    from counterpoint.training.data import StepSampler

    train = toy.Digits("digits", count=80).splits()["train"]
    return list(StepSampler(train, 16, seed=0))[-1][0]


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    """The test above can fail: unpickled freely, the same file leaves its mark."""
    path = tmp_path / "x.ckpt"
    torch.save({"global_step": Touched(tmp_path / "payload")}, path)
    torch.load(path, weights_only=False)
    assert (tmp_path / "payload").exists()


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_signals_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = handlers()
    pretrain("toy/simclr", out=tmp_path / "well", **SMALL)
    assert handlers() == before
    with pytest.raises(TrainingError):
        pretrain("toy/simclr", out=tmp_path / "badly", **{**SMALL, "dataset": {"count": 80, "poisoned": _late()}})
    assert handlers() == before
    call = toy.NoisyShifts.__call__

    def interrupting(self: Any, batch: Any, generator: Any) -> Any:
        if len(batch) == 16:
            signal.raise_signal(signal.SIGINT)
        return call(self, batch, generator)

    monkeypatch.setattr(toy.NoisyShifts, "__call__", interrupting)
    with pytest.raises(Interrupted, match=f"Stopped at step 1; .* --resume {tmp_path / 'asked'}"):
        pretrain("toy/simclr", out=tmp_path / "asked", **SMALL)
    assert handlers() == before


def test_second_request_leaves_at_once() -> None:
    stop = StopRequest()
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked == "SIGTERM"
        with pytest.raises(LeaveNow):
            signal.raise_signal(signal.SIGINT)
    assert not issubclass(LeaveNow, Exception), "code that catches every Exception must not swallow it"


def test_in_another_thread_there_are_no_signals() -> None:
    before, failed = handlers(), []

    def work() -> None:
        try:
            with StopRequest().listening():
                failed.append(handlers() != before)
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == [False]


def test_saved_on_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, steps = Trainer.save_checkpoint, []

    def noted(self: Trainer, path: Path, *args: Any) -> None:
        steps.append(self.global_step)
        save(self, path, *args)

    monkeypatch.setattr(Trainer, "save_checkpoint", noted)
    pretrain("toy/simclr", out=tmp_path / "often", save_minutes=1e-9, **SMALL)
    assert steps == list(range(1, 7)), "each once, also at the epochs' ends"
    steps.clear()
    pretrain("toy/simclr", out=tmp_path / "seldom", save_minutes=60, **SMALL)
    assert steps == [3, 6]
