"""Progress: a plain line an epoch, bars at a terminal, nothing when quiet."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from rich.console import Console

from counterpoint.training.monitors import Monitor
from counterpoint.training.progress import Progress, describe
from counterpoint.types import Step

pytestmark = pytest.mark.unit


def shown(lab: Any, module: Any, terminal: bool = False, extra: tuple[Callback, ...] = (), **settings: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=160, _environ={"TERM": "xterm"} if terminal else {})
    progress = Progress(quiet=settings.pop("quiet", False), console=console)
    lab.fit(module, [Monitor(lab.embed(module)), progress, *extra], **{"max_epochs": 2} | settings)
    return out.getvalue()


def test_one_plain_line_an_epoch(lab: Any, toy: Any) -> None:
    lines = shown(lab, toy()).splitlines()
    assert len(lines) == 2
    form = (
        r"epoch 2/2 · step 20 · loss \d\.\d{3} \(chance 5\.54\) · kNN \d+\.\d% \(untrained \d+\.\d%\)"
        r" · [\d,]+ samples/s · 0:00:00 left"
    )
    assert re.fullmatch(form, lines[1]), lines[1]


def test_a_bounded_number_of_steps(lab: Any, toy: Any) -> None:
    lines = shown(lab, toy("attract"), max_epochs=-1, max_steps=15).splitlines()
    assert [line.split(" · ")[:2] for line in lines] == [["epoch 1/2", "step 10"], ["epoch 2/2", "step 15"]]
    assert "chance" not in lines[0]


def test_the_last_epoch_is_the_last_that_the_steps_allow(lab: Any, toy: Any) -> None:
    lines = shown(lab, toy(), max_epochs=20, max_steps=15).splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]


def test_a_training_of_a_few_steps_has_a_speed(lab: Any, toy: Any) -> None:
    line = shown(lab, toy(), max_epochs=-1, max_steps=3)
    assert re.search(r"· ([\d,]+) samples/s", line)[1] != "0"  # type: ignore[index]


def test_bars_at_a_terminal(lab: Any, toy: Any) -> None:
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown(lab, toy(), terminal=True))
    assert "20/20" in text and "epoch 2/2" in text and "10/10" in text
    assert re.search(r"total .*loss \d\.\d{3} \(chance 5\.54\) · kNN", text)


def test_quiet_shows_nothing(lab: Any, toy: Any) -> None:
    assert shown(lab, toy(), quiet=True) == ""


class Broken(Callback):
    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        raise RuntimeError("broken")


def test_bars_close_when_a_step_fails(lab: Any, toy: Any) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, _environ={"TERM": "xterm"})
    with pytest.raises(RuntimeError, match="broken"):
        lab.fit(toy(), [Progress(console=console), Broken()], max_epochs=1)
    assert out.getvalue().endswith("\x1b[?25h"), "the cursor is shown again"


def test_a_line_without_chance_and_knn() -> None:
    told = Step(torch.tensor(0.5))
    assert describe(told, {}) == ["loss 0.500"]
    assert describe(told, {"val/knn[k=20,T=0.07]": 0.25}) == ["loss 0.500", "kNN 25.0%"]


def test_a_line_says_what_it_began_with() -> None:
    """An encoder that had learnt is not called untrained, and a start of exactly 0 is one."""
    told, latest = Step(torch.tensor(0.5)), {"val/accuracy": 0.3125, "untrained/accuracy": 0.0}
    assert describe(told, latest, "accuracy", "at the start")[1:] == ["accuracy 0.3125 (at the start 0.0000)"]
    assert describe(told, latest, "accuracy")[1:] == ["accuracy 0.3125 (untrained 0.0000)"]
