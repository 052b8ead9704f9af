"""What every claim does: train by the product's own commands, choose on val, measure on test, write mean and spread.

Each trial is a `counterpoint pretrain` and a `counterpoint evaluate`, so anybody can repeat one by hand. Trials are
kept under ``$COUNTERPOINT_CLAIMS`` (default: runs/claims) by a hash of their options and of what the configuration
files among them say: an interrupted claim goes on where it was, and an edited configuration trains anew.
``COUNTERPOINT_SMOKE=1`` shrinks a claim to one seed and a few steps on built-in data: it exercises everything and shows
nothing, and asserts no gain.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from counterpoint.evaluation.stats import paired_difference
from counterpoint.training.logs import read_metrics

ROOT = Path(__file__).resolve().parents[2]
SMOKE = bool(os.environ.get("COUNTERPOINT_SMOKE"))
SMOKE_WORDS = {
    "vision": ("--data", "photographs", "--dataset.train_patches", "40", "--max_steps", "4"),
    "graphrec": ("--data", "clicks.csv", "--max_steps", "4", "--dataset.core", "0", "--batch_size", "64"),
    "contrasted": ("--max_steps", "4", "--batch_size", "32"),  # the claim makes its two sources small
    "multimodal": ("--data", "pairs.csv", "--max_steps", "4", "--batch_size", "16"),
}
"""What makes a trial of each plugin a matter of seconds, on data that needs no data home."""
KNN = "knn[k=20,T=0.07]"


def _home() -> Path:
    return Path(os.environ.get("COUNTERPOINT_CLAIMS", ROOT / "runs" / "claims"))


def place(name: str) -> Path:
    """A folder of the claims' own."""
    folder = _home() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Trial:
    """One training: options of ``counterpoint pretrain``, the recipe first, without seed and output."""

    words: tuple[str, ...]
    seed: int

    def options(self) -> list[str]:
        """Every option but the output directory."""
        quiet = ["--tensorboard", "false", "--progress", "false", "--threads", "1"]
        if "--monitor_epochs" not in self.words:
            quiet += ["--monitor_epochs", "100000"]
        kind = "contrasted" if "--background" in self.words else self.words[0].partition("/")[0]
        smoke = SMOKE_WORDS[kind] if SMOKE else ()
        smoke = tuple(MADE[word]() if word in MADE else word for word in smoke)
        return [*self.words, *smoke, "--seed", str(self.seed), *quiet]

    @property
    def folder(self) -> Path:
        """Its run directory."""
        files = [yaml.safe_load((ROOT / word).read_bytes()) for word in self.words if word.endswith(".yaml")]
        name = hashlib.blake2b(json.dumps([*self.options(), *files]).encode(), digest_size=6).hexdigest()
        return _home() / f"{self.words[0].replace('/', '-')}-{self.seed}-{name}"


@functools.cache
def _clicks() -> str:
    """A small table of interactions, made once."""
    from counterpoint_graphrec.data.examples import table

    return str(table(place("clicks"))["source"])


@functools.cache
def _pairs() -> str:
    """A small table of drawings and captions, made once."""
    from counterpoint_multimodal.data.examples import toy

    return str(toy(place("pairs"))["source"])


MADE = {"clicks.csv": _clicks, "pairs.csv": _pairs}
"""Data that a smoke run makes for itself."""


def trained(trial: Trial) -> Path:
    """Train, unless it was: the run directory."""
    if (trial.folder / "checkpoints" / "last.ckpt").is_file() and not (trial.folder / "run.json").is_file():
        _command(["pretrain", "--resume", str(trial.folder)])
    elif not (trial.folder / "run.json").is_file():
        _command(["pretrain", *trial.options(), "--out", str(trial.folder), "--overwrite", "--report", "false"])
    return trial.folder


def measure(trial: Trial, split: str, quick: bool) -> dict[str, Any]:
    """Train (unless it was), evaluate on ``split`` (unless it was): rows of metrics, and facts of the training."""
    path = trial.folder / f"evaluation-{split}.json"
    if not path.is_file():
        trained(trial)
        _command(["evaluate", str(trial.folder), "--split", split, *(["--quick"] if quick else [])])
    rows = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    run = json.loads((trial.folder / "run.json").read_text(encoding="utf-8"))
    return {"rows": rows, **{key: run.get(key) for key in ("seconds", "steps", "versions", "selected")}}


def _command(words: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "counterpoint.cli", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COUNTERPOINT_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"counterpoint {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def measure_all(trials: Iterable[Trial], split: str, quick: bool) -> dict[Trial, dict[str, Any]]:
    """Measure trials, ``$COUNTERPOINT_JOBS`` (default: one per core) at a time; each trains with one thread."""
    trials = list(dict.fromkeys(trials))
    jobs = int(os.environ.get("COUNTERPOINT_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return dict(zip(trials, pool.map(lambda trial: measure(trial, split, quick), trials)))


def choose(grid: Sequence[tuple[str, ...]], seed: int, metric: str = KNN) -> tuple[tuple[str, ...], dict[str, float]]:
    """The options of ``grid`` whose learnt encoder is best on *val*, and every value that was compared."""
    found = measure_all([Trial(words, seed) for words in grid], "val", quick=True)
    values = {trial.words: row["rows"]["learnt"][metric] for trial, row in found.items()}
    best = max(values, key=lambda words: values[words])
    return best, {" ".join(words): value for words, value in values.items()}


def finals(words: tuple[str, ...], seeds: Sequence[int], *, quick: bool = False) -> list[dict[str, Any]]:
    """The chosen options over ``seeds``, measured on *test*; ``quick``: the kNN only."""
    found = measure_all([Trial(words, seed) for seed in seeds], "test", quick)
    return [found[Trial(words, seed)] for seed in seeds]


def values(found: Sequence[dict[str, Any]], row: str = "learnt", metric: str = KNN) -> list[float]:
    """One metric of one row, seed by seed."""
    return [one["rows"][row][metric] for one in found]


def gain(ours: Sequence[float], theirs: Sequence[float]) -> Any:
    """Paired difference over seeds: mean, std, 95 % interval."""
    return paired_difference(ours, theirs)


def write(name: str, result: dict[str, Any]) -> Path:
    """Write a claim's result where the tables are generated from; a smoke run goes to the claims' own folder."""
    results = Path(os.environ.get("COUNTERPOINT_RESULTS", ROOT / "docs" / "results"))
    path = _home() / f"{name}.json" if SMOKE else results / "claims" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def expect(condition: Callable[[], bool], text: str) -> None:
    """Assert a claim, except in a smoke run, which shows nothing."""
    if not SMOKE:
        assert condition(), text


def mean_logged(words: tuple[str, ...], seed: int, metric: str) -> float:
    """Mean over a trained trial's steps of what its ``metrics.csv`` holds of ``metric``."""
    return fmean(value for _, value in read_metrics(Trial(words, seed).folder)[metric])


def curve(words: tuple[str, ...], seed: int, metric: str) -> list[tuple[int, float]]:
    """``(step, value)`` of what a trained trial's ``metrics.csv`` holds of ``metric``."""
    return [*read_metrics(Trial(words, seed).folder).get(metric, ())]
