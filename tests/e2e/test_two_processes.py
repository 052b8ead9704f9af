"""Two processes by configuration: one run directory, the gradients of one process, stop, resume, and one message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import toy
from counterpoint.training.logs import read_metrics
from forks import Forks

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TOYCLI = Path(toy.__file__).with_name("toycli.py")
SMALL = [
    "--data=digits",
    "--dataset.count=300",
    "--epochs=2",
    "--views=Mirrored",
    "--tensorboard=false",
    "--monitor_steps=3",
]
SMALL += ["--accelerator=cpu", "--monitor_steps=3", "--save_steps=5"]
SMALL += ["--method.projector=Projector", "--method.projector.norm=false"]
SMALL += ["--optimization.name=sgd", "--optimization.lr=0.1"]  # Adam would turn rounding into a step
TWO = ["--batch_size=16", "--devices=2", "--strategy=ddp"]


def launch(words: list[object], **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, str(TOYCLI), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**clean, **environment},
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("two") / "run"
    done = launch(["pretrain", "toy/simclr", f"--out={out}", *SMALL, *TWO])
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_one_run_directory_and_one_voice(two: tuple[Path, str]) -> None:
    out, told = two
    assert told.count("samples per step 32, micro-batch 16, candidates per anchor 63") == 1
    assert told.count("epoch 2/2") == 1
    facts = json.loads((out / "run.json").read_text())
    assert (facts["steps"], facts["samples"]) == (14, 235)
    assert "samples per step: 32" in (out / "encoder" / "README.md").read_text()
    assert "<td>32, 16 on each of 2</td>" in (out / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    assert not list(out.rglob("*.part"))


def test_weights_equal_those_of_one_process(two: tuple[Path, str], forks: Forks, tmp_path: Path) -> None:
    """Half the batch on each of two processes, or all of it on one: the same samples a step, the same weights."""
    one = tmp_path / "one"
    assert forks.run(["pretrain", "toy/simclr", f"--out={one}", *SMALL, "--batch_size=32"]).code == 0
    start = forks.run(["pretrain", "toy/simclr", f"--out={tmp_path / 'start'}", *SMALL, "--optimization.lr=0"])
    assert start.code == 0
    ours, theirs = (load_file(out / "encoder" / "model.safetensors") for out in (two[0], one))
    begin = load_file(tmp_path / "start" / "encoder" / "model.safetensors")
    for name, weight in theirs.items():
        assert (weight - begin[name]).abs().max() > 1e-3, "nothing was learnt, so nothing is compared"
        assert (ours[name] - weight).abs().max() < 1e-5
    for metric in ("train/loss", "train/chance", "train/grad_norm", "train/learning_rate"):
        values = [read_metrics(out)[metric] for out in (two[0], one)]
        assert values[0] == [(step, pytest.approx(value, rel=1e-4)) for step, value in values[1]]


def test_one_is_asked_to_stop_all_stop_and_resume_exactly(two: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["pretrain", "toy/simclr", f"--out={out}", *SMALL, *TWO]
    done = launch(words, TOY_STRIKE="views:9:SIGTERM", TOY_STRIKE_FIRST="1")
    assert done.returncode == 130, done.stderr
    assert (
        done.stderr.count(f"Stopped at step 9; everything is saved. Go on with: counterpoint pretrain --resume {out}")
        == 1
    )
    assert "Traceback" not in done.stderr
    done = launch(["pretrain", "--resume", out])
    assert done.returncode == 0, done.stderr
    for name in ("encoder/model.safetensors", "metrics.csv"):
        assert (out / name).read_bytes() == (two[0] / name).read_bytes()


def test_a_loss_that_is_no_number_is_told_once_with_all_samples(tmp_path: Path) -> None:
    poisoned = int(toy.Digits("digits", count=300).splits()["train"][7])
    out = tmp_path / "run"
    done = launch(["pretrain", "toy/simclr", f"--out={out}", *SMALL, *TWO, f"--dataset.poisoned={poisoned}"])
    assert done.returncode == 1
    assert done.stderr.count("Stopped in step") == done.stderr.count(f"not finite: {poisoned} (digit-{poisoned})") == 1
    assert "Traceback" not in done.stderr
    found = json.loads((out / "non-finite.json").read_text())
    assert found["not_finite"] == [poisoned]
    assert f"digit-{poisoned}" in found["names"]


def test_stages_of_two_processes_share_their_cells(tmp_path: Path) -> None:
    """The first process clusters, the other waits; every global batch is of one cell, and resume goes on."""
    out = tmp_path / "run"
    words = ["pretrain", "toy/simclr", f"--out={out}", *SMALL, *TWO, "--stages.count=2", "--stages.clusters=2"]
    done = launch([*words, "--epochs=1", "--report=false"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Each batch from one of 2 cells") == 1
    facts = json.loads((out / "run.json").read_text())
    assert facts["processes"] == 2
    assert facts["stages"][1]["steps"] * 32 == pytest.approx(facts["stages"][1]["coverage"] * facts["samples"])
    weights = (out / "encoder" / "model.safetensors").read_bytes()
    (out / "run.json").unlink()
    (out / "stages" / "1" / "run.json").unlink()
    again = launch(["pretrain", "--resume", out])
    assert again.returncode == 0, again.stderr
    assert (out / "encoder" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("task", "objective"),
    [
        ("classify", "plain"),
        ("classify", "core-tuning --objective.weight 0"),
        ("regress", "supremix --dataset.ordered true"),
    ],
)
def test_fine_tuning_on_two_processes(
    task: str, objective: str, two: tuple[Path, str], forks: Forks, tmp_path: Path
) -> None:
    """The plain loss teaches what it teaches on one process; the objective, whose draws are each rank's, runs."""
    small = [word for word in SMALL if not word.startswith(("--data", "--method", "--views"))]
    words = ["finetune", two[0], f"--task={task}", "--objective", *objective.split(), "--report=false", *small]
    out, one = tmp_path / "two", tmp_path / "one"
    done = launch([*words, f"--out={out}", *TWO])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 2/2") == 1
    measured = json.loads((out / "evaluation-test.json").read_text())
    assert measured["split"] == "test"
    if objective != "plain":
        return
    assert forks.run([*words, f"--out={one}", "--batch_size=32"]).code == 0
    for part in ("encoder", "head"):
        ours, theirs = (load_file(run / part / "model.safetensors") for run in (out, one))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    begin = load_file(two[0] / "encoder" / "model.safetensors")
    learnt = load_file(one / "encoder" / "model.safetensors")
    assert max((weight - begin[name]).abs().max() for name, weight in learnt.items()) > 1e-3, "nothing was learnt"
