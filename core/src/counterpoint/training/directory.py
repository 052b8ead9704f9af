"""A run's directory: claimed before anything is written, held while it is overwritten, cleared of what a run wrote."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from counterpoint.errors import RunError
from counterpoint.run import CONFIG, is_run
from counterpoint.training._tables import METRICS, STAGES
from counterpoint.training.checkpoints import LAST, resume_command
from counterpoint.training.guards import FILE
from counterpoint.training.logs import read_metrics

FOLDERS = ("checkpoints", "encoder", "head", "plain", "tensorboard", STAGES)
WRITTEN = (CONFIG, "run.json", "*.csv", "evaluation-*.json", "non-finite.json", "report.html", *FOLDERS)
HELD = ".overwritten"


def claim(out: Path, overwrite: bool) -> None:
    """Refuse to write where anybody's things are."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_run(out):
        raise RunError(f"--out {out}: exists and is no run directory. Choose another.")
    if not overwrite:
        raise RunError(
            f"--out {out}: holds a run already. Go on with it: {resume_command(out)}; "
            "or start again with --overwrite; or choose another --out."
        )


@contextmanager
def holding(out: Path) -> Iterator[None]:
    """Keep the run that is overwritten until its successor has taken a step.

    Whatever goes wrong before (a misspelt ``select``, a full disk, Ctrl-C) leaves everything as it was.
    """
    held = out / HELD
    release(out)
    for path in written(out):
        held.mkdir(exist_ok=True)
        path.rename(held / path.name)
    try:
        yield
    except BaseException:
        if not any(_begun(path) for path in (out, *(out / STAGES).glob("*"))):
            clear(out)
            for path in held.iterdir() if held.is_dir() else ():
                path.rename(out / path.name)
        raise
    finally:
        release(out)
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def release(out: Path) -> None:
    """Give up the run that was overwritten; its successor has begun."""
    shutil.rmtree(out / HELD, ignore_errors=True)


def written(out: Path) -> list[Path]:
    """What a run writes, as far as it is there."""
    return [path for pattern in WRITTEN for path in out.glob(pattern)]


def clear(out: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    for path in written(out):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _begun(path: Path) -> bool:
    """Whether a training has taken a step there, or has said which batch kept it from that."""
    if (path / LAST).is_file() or (path / FILE).is_file():
        return True
    return (path / METRICS).is_file() and "train/loss" in read_metrics(path)
