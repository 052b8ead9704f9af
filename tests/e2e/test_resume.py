"""Stopped in any way and resumed ends like never stopped: the same bytes of weights and metrics."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forks import Forks

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SMALL = [
    "--dataset.count=300",
    "--epochs=3",
    "--batch_size=32",
    "--tensorboard=false",
    "--report=false",
    "--monitor_steps=3",
    "--save_steps=5",
]
METHODS = {  # 7 steps an epoch, checkpoints at 5, 7, 10, 14, 15, 20 and 21
    "simclr": ["--encoder.dropout=0.2"],
    "moco": ["--encoder.dropout=0.2", "--method.queue_size=100"],
    "byol": ["--encoder.dropout=0.2"],
    "swav": ["--views.local=2", "--method.queue_size=64", "--method.prototypes=16"],
    "dino": ["--views.local=2", "--encoder.dropout=0.2"],
}
FILES = ("encoder/model.safetensors", "metrics.csv", "scores.csv")


def words(method: str, out: Path, *more: str) -> list[object]:
    return ["pretrain", f"toy/{method}", "--data=digits", f"--out={out}", *SMALL, *METHODS[method], *more]


@pytest.fixture(scope="module")
def undisturbed(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    for method in METHODS:
        done = forks.run(words(method, folder / method))
        assert done.code == 0, done.err
    return {method: contents(folder / method) for method in METHODS}


def contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in FILES}


def test_runs_differ_where_they_should(undisturbed: dict[str, dict[str, bytes]]) -> None:
    """The comparison below can fail: no two methods end alike, and all 21 steps are in the log."""
    weights = {files["encoder/model.safetensors"] for files in undisturbed.values()}
    assert len(weights) == len(METHODS)
    for files in undisturbed.values():
        assert re.search(rb"^21,2,train/loss,", files["metrics.csv"], re.MULTILINE)


@pytest.mark.parametrize("method", METHODS)
def test_killed_in_mid_epoch(
    method: str, forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    """Killed in step 13, checkpoint of step 10: rows of 12 are written, forgotten, and written again."""
    out = tmp_path / "run"
    assert forks.run(words(method, out), strike="views:13:SIGKILL").code == -signal.SIGKILL
    assert "\n12,1,train/loss," in (out / "metrics.csv").read_text()
    assert not (out / "encoder").exists()
    done = forks.run(["pretrain", "--resume", out])
    assert done.code == 0, done.err
    assert contents(out) == undisturbed[method]


@pytest.mark.parametrize(
    "strike",
    [
        "views:3:SIGKILL",  # before the first checkpoint
        "saved:2:SIGKILL",  # at the end of the first epoch, its checkpoint written
        "views:8:SIGKILL",  # in the first step of the second
        "saving:2:SIGKILL",  # with half a checkpoint on the disk
        "saved:7:SIGKILL",  # all steps done, nothing exported
        "export:1:SIGKILL",
    ],
)
def test_killed_at_an_awkward_moment(
    strike: str, forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    out = tmp_path / "run"
    assert forks.run(words("simclr", out), strike=strike).code == -signal.SIGKILL
    done = forks.run(["pretrain", "--resume", out])
    assert done.code == 0, done.err
    assert contents(out) == undisturbed["simclr"]
    assert not list((out / "checkpoints").glob(".*"))


def test_killed_twice(forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]) -> None:
    out = tmp_path / "run"
    assert forks.run(words("moco", out), strike="views:9:SIGKILL").code == -signal.SIGKILL
    assert forks.run(["pretrain", "--resume", out], strike="views:7:SIGKILL").code == -signal.SIGKILL
    assert forks.run(["pretrain", "--resume", out]).code == 0
    assert contents(out) == undisturbed["moco"]


@pytest.mark.parametrize(
    ("strike", "stopped"),
    [
        ("views:1:SIGINT", 1),
        ("views:9:SIGINT", 9),
        ("views:9:SIGTERM", 9),
        ("views:7:SIGINT", 7),  # in an epoch's last step: the epoch's end is written first
        ("saving:2:SIGINT", 7),  # while the epoch's end is written
    ],
)
def test_asked_to_stop(
    strike: str, stopped: int, forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    out = tmp_path / "run"
    done = forks.run(words("simclr", out), strike=strike)
    assert done.code == 130
    told = f"Stopped at step {stopped}; everything is saved. Go on with: counterpoint pretrain --resume {out}"
    assert done.err.strip().splitlines()[-1] == told
    assert "Once more: stop at once" in done.err
    again = forks.run(["pretrain", "--resume", out], strike=f"views:{22 - stopped}:SIGKILL")
    assert again.code == 0, "it repeated a step that was saved"
    assert contents(out) == undisturbed["simclr"]


def test_asked_in_the_last_step_finishes(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    out = tmp_path / "run"
    assert forks.run(words("simclr", out), strike="views:21:SIGINT").code == 0
    assert contents(out) == undisturbed["simclr"]
    done = forks.run(["pretrain", "--resume", out])
    assert done.code == 0
    assert "is finished already; nothing to resume" in done.out


def test_asked_twice_leaves_at_once(forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]) -> None:
    out = tmp_path / "run"
    done = forks.run(words("simclr", out), strike="views:9:SIGINT,saving:3:SIGINT")
    assert done.code == 130
    assert f"what came after the last checkpoint is lost. Go on with: counterpoint pretrain --resume {out}" in done.err
    assert "Traceback" not in done.err
    assert forks.run(["pretrain", "--resume", out]).code == 0
    assert contents(out) == undisturbed["simclr"]


@pytest.mark.parametrize("strike", ["views:9:SIGKILL", "views:9:SIGINT", "export:1:SIGKILL"])
def test_fine_tuning(strike: str, forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]) -> None:
    start = tmp_path / "start"
    assert forks.run(words("simclr", start)).code == 0
    tune = ["finetune", start, "--task=classify", "--objective=core-tuning", "--epochs=2", "--batch_size=32"]
    tune += ["--tensorboard=false", "--report=false", "--save_steps=3"]
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    assert forks.run([*tune, f"--out={whole}"]).code == 0
    done = forks.run([*tune, f"--out={struck}"], strike=strike)
    if strike.endswith("SIGINT"):
        assert done.code == 130
        assert done.err.strip().endswith(f"Go on with: counterpoint finetune --resume {struck}")
    else:
        assert done.code == -signal.SIGKILL
    assert not (struck / "evaluation-test.json").exists()
    assert forks.run(["finetune", "--resume", struck]).code == 0
    for name in ("encoder/model.safetensors", "head/model.safetensors", "metrics.csv"):
        assert (struck / name).read_bytes() == (whole / name).read_bytes(), name
    assert (struck / "evaluation-test.json").is_file()


def test_max_steps_in_mid_epoch(forks: Forks, tmp_path: Path) -> None:
    """The last step is in the middle of an epoch; a stop that is asked for in it finishes all the same."""
    out, other = tmp_path / "a", tmp_path / "b"
    assert forks.run(words("simclr", out, "--max_steps=12")).code == 0
    assert forks.run(words("simclr", other, "--max_steps=12"), strike="views:11:SIGKILL").code == -signal.SIGKILL
    assert forks.run(["pretrain", "--resume", other], strike="views:2:SIGINT").code == 0
    assert contents(out) == contents(other)


def test_reading_processes_change_nothing(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    out = tmp_path / "run"
    killed = forks.run(words("simclr", out, "--workers=2"), strike="views:13:SIGKILL")
    assert killed.code == -signal.SIGKILL
    done = forks.run(["pretrain", "--resume", out])
    assert done.code == 0, done.err
    assert contents(out) == undisturbed["simclr"]


def test_gradient_caching_survives_too(forks: Forks, tmp_path: Path) -> None:
    out, other = tmp_path / "a", tmp_path / "b"
    assert forks.run(words("simclr", out, "--micro_batch=10")).code == 0
    assert forks.run(words("simclr", other, "--micro_batch=10"), strike="views:13:SIGKILL").code == -signal.SIGKILL
    assert forks.run(["pretrain", "--resume", other]).code == 0
    assert contents(out) == contents(other)


def test_resume_from_elsewhere_and_after_a_move(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, dict[str, bytes]]
) -> None:
    out, moved = tmp_path / "run", tmp_path / "moved"
    assert forks.run(words("simclr", out), strike="views:13:SIGKILL").code == -signal.SIGKILL
    out.rename(moved)
    assert forks.run(["pretrain", "--resume", moved]).code == 0
    assert contents(moved) == undisturbed["simclr"]
    assert not out.exists()


def test_vision_killed_from_outside(tmp_path: Path) -> None:
    """The command as a user has it, on real images, killed by another process."""
    base = [sys.executable, "-m", "counterpoint.cli", "pretrain"]
    settings = [
        "vision/simclr",
        "--data",
        "photographs",
        "--dataset.train_patches",
        "40",
        "--epochs",
        "2",
        "--batch_size",
        "32",
    ]
    settings += ["--save_steps", "3", "--monitor_steps", "2", "--tensorboard", "false", "--encoder.width", "8"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*base, *settings, "--out", whole], check=True, capture_output=True)
    process = subprocess.Popen([*base, *settings, "--out", killed], stdout=subprocess.DEVNULL)
    log, deadline = killed / "metrics.csv", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and "\n8,0,train/loss," in log.read_text():
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "run.json").exists()
    subprocess.run([*base, "--resume", killed], check=True, capture_output=True)
    assert contents(killed) == contents(whole)


STAGED = ["--encoder.dropout=0.2", "--stages.count=2", "--stages.clusters=3", "--epochs=1", "--save_steps=5"]


def staged(out: Path) -> list[object]:
    return ["pretrain", "toy/simclr", "--data=digits", f"--out={out}", *SMALL, *STAGED]


@pytest.fixture(scope="module")
def two_stages(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("staged") / "run"
    done = forks.run(staged(out))
    assert done.code == 0, done.err
    return contents(out)


@pytest.mark.parametrize(
    "strike",
    [
        "views:3:SIGKILL",  # in the first stage, before a checkpoint
        "export:1:SIGKILL",  # it is trained, but not written
        "saved:4:SIGKILL",  # all of the second stage's steps done
        "views:13:SIGKILL",  # in the second stage, with a checkpoint
        "views:9:SIGTERM",  # asked to stop in the second stage
    ],
)
def test_stages_go_on_where_they_were(strike: str, forks: Forks, tmp_path: Path, two_stages: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    stopped = forks.run(staged(out), strike=strike)
    assert stopped.code == (130 if "TERM" in strike else -signal.SIGKILL)
    assert "TERM" not in strike or f"counterpoint pretrain --resume {out}\n" in stopped.err
    assert not (out / "encoder").exists()
    done = forks.run(["pretrain", "--resume", out])
    assert done.code == 0, done.err
    assert contents(out) == two_stages
