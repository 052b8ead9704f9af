"""What every claim does: train by the product's own commands, choose on val, measure on test, write mean and spread.

Each trial is a `counterpoint pretrain` and a `counterpoint evaluate`, so anybody can repeat one by hand. Trials are
kept under ``$COUNTERPOINT_CLAIMS`` (default: runs/claims) by a hash of their options and of what the configuration
files among them say: an interrupted claim goes on where it was, and an edited configuration trains anew.
``COUNTERPOINT_SMOKE=1`` shrinks a claim to one seed and a few steps on built-in data: it exercises everything and shows
nothing, and asserts no gain.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
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
from counterpoint.evaluation.table import from_json
from counterpoint.training.logs import read_metrics

ROOT = Path(__file__).resolve().parents[2]
SMOKE = bool(os.environ.get("COUNTERPOINT_SMOKE"))
SMOKE_WORDS = {
    "vision": ("--data", "photographs", "--dataset.train_patches", "40", "--max_steps", "4"),
    "graphrec": ("--data", "clicks.csv", "--max_steps", "4", "--dataset.core", "0", "--batch_size", "64"),
    "contrasted": ("--max_steps", "4", "--batch_size", "32"),  # the claim makes its two sources small
    "multimodal": ("--data", "pairs.csv", "--max_steps", "4", "--batch_size", "16"),
    "turbofan": ("--data", "invented", "--max_steps", "4", "--batch_size", "16"),
}
"""What makes a trial of each plugin a matter of seconds, on data that needs no data home."""
PROGRAMS = {"turbofan": (str(ROOT / "tests" / "support" / "turbofans.py"),)}
"""What runs a command line, where that is not the installed program: plugins of the tests' own."""
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
        words = self.words
        if "--data" in smoke and "--data" in words:  # in the place of the claim's own, for a run has one source
            words = words[: words.index("--data")] + words[words.index("--data") + 2 :]
        return [*words, *smoke, "--seed", str(self.seed), *quiet]

    @property
    def program(self) -> tuple[str, ...]:
        """What runs its command lines."""
        return PROGRAMS.get(self.words[0].partition("/")[0], CLI)

    @property
    def folder(self) -> Path:
        """Its run directory."""
        files = [yaml.safe_load((ROOT / word).read_bytes()) for word in self.words if word.endswith(".yaml")]
        name = hashlib.blake2b(json.dumps([*self.options(), *files]).encode(), digest_size=6).hexdigest()
        return _home() / f"{self.words[0].replace('/', '-')}-{self.seed}-{name}"


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning of a trial's encoder: options of ``counterpoint finetune``, without run, seed and output."""

    start: Trial
    words: tuple[str, ...]
    seed: int

    def options(self) -> list[str]:
        """Every option but run and output directory."""
        quiet = ["--tensorboard", "false", "--progress", "false", "--threads", "1", "--monitor_epochs", "100000"]
        return [*self.words, *(["--max_steps", "4"] if SMOKE else []), "--seed", str(self.seed), *quiet]

    @property
    def folder(self) -> Path:
        """Its run directory."""
        told = json.dumps([self.start.folder.name, *self.options()]).encode()
        return _home() / f"tuned-{self.seed}-{hashlib.blake2b(told, digest_size=6).hexdigest()}"


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
    begun = (trial.folder / "checkpoints" / "last.ckpt").is_file() or (trial.folder / "stages").is_dir()
    if begun and not (trial.folder / "run.json").is_file():
        _command(["pretrain", "--resume", str(trial.folder)], trial.program)
    elif not (trial.folder / "run.json").is_file():
        words = ["pretrain", *trial.options(), "--out", str(trial.folder), "--overwrite", "--report", "false"]
        _command(words, trial.program)
    return trial.folder


def measure(trial: Trial, split: str, quick: bool, data: str | None = None) -> dict[str, Any]:
    """Train (unless it was), evaluate on ``split`` (unless it was): rows of metrics, and facts of the training.

    ``data``: other data than those of the training, by which it is measured (not in a smoke run).
    """
    other = None if SMOKE else data
    path = trial.folder / f"evaluation-{split}{'' if other is None else '-' + Path(other).stem}.json"
    if not path.is_file():
        trained(trial)
        words = [] if other is None else ["--data", other, "--out", str(path)]
        words = ["evaluate", str(trial.folder), "--split", split, *words, *(["--quick"] if quick else [])]
        _command(words, trial.program)
    rows = from_json(json.loads(path.read_text(encoding="utf-8"))["metrics"])
    run = json.loads((trial.folder / "run.json").read_text(encoding="utf-8"))
    return {"rows": rows, **{key: run.get(key) for key in ("seconds", "steps", "versions", "selected")}}


def tuned(tuning: Tuning) -> Path:
    """Fine-tune, unless it was: the run directory, measured on test."""
    folder = tuning.folder
    start = trained(tuning.start)
    if (folder / "checkpoints" / "last.ckpt").is_file() and not (folder / "evaluation-test.json").is_file():
        _command(["finetune", "--resume", str(folder)], tuning.start.program)
    elif not (folder / "evaluation-test.json").is_file():
        words = ["finetune", str(start), *tuning.options(), "--out", str(folder), "--overwrite", "--report", "false"]
        _command(words, tuning.start.program)
    return folder


def measure_tuned(tuning: Tuning, split: str) -> dict[str, dict[str, float]]:
    """Fine-tune (unless it was), evaluate on ``split`` (unless it was): row -> metric -> value."""
    path = tuned(tuning) / f"evaluation-{split}.json"
    if not path.is_file():
        _command(["evaluate", str(tuning.folder), "--split", split], tuning.start.program)
    return from_json(json.loads(path.read_text(encoding="utf-8"))["metrics"])


def tunings(wanted: Iterable[Tuning], split: str) -> dict[Tuning, dict[str, dict[str, float]]]:
    """`measure_tuned` of each, as `measure_all` does it; what they begin with is trained first."""
    wanted = list(dict.fromkeys(wanted))
    for start in dict.fromkeys(tuning.start for tuning in wanted):
        trained(start)
    return dict(zip(wanted, in_turn(lambda tuning: measure_tuned(tuning, split), wanted)))


CLI = ("-m", "counterpoint.cli")


def _command(words: Sequence[str], program: Sequence[str] = CLI) -> str:
    """Run a command line; returns what it printed. In a smoke run in this process, as starting one takes seconds."""
    if SMOKE and program == CLI:
        return _here(words)
    done = subprocess.run(
        [sys.executable, *program, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COUNTERPOINT_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"counterpoint {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def _here(words: Sequence[str]) -> str:
    from counterpoint.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main([*words])
    if code:
        raise RuntimeError(f"counterpoint {' '.join(words)}\n{printed.getvalue()[-4000:]}")
    return printed.getvalue()


def ask(tuning: Tuning, verb: str) -> dict[str, float]:
    """What the ``verb`` of a program of the tests' own says of a fine-tuned run, as JSON; asked once."""
    path = tuned(tuning) / f"{verb}.json"
    if not path.is_file():
        path.write_text(_command([verb, str(tuning.folder)], tuning.start.program), encoding="utf-8")
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found


def measure_all(
    trials: Iterable[Trial], split: str, quick: bool, data: str | None = None
) -> dict[Trial, dict[str, Any]]:
    """Measure trials, see `in_turn`."""
    trials = list(dict.fromkeys(trials))
    return dict(zip(trials, in_turn(lambda trial: measure(trial, split, quick, data), trials)))


def in_turn(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """``work`` on each, ``$COUNTERPOINT_JOBS`` (default: one per core) at a time; each trains with one thread."""
    if SMOKE:
        return [work(item) for item in items]
    jobs = int(os.environ.get("COUNTERPOINT_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return list(pool.map(work, items))


def train_all(trials: Iterable[Trial]) -> list[Path]:
    """Train trials: their run directories."""
    return in_turn(trained, list(trials))


def choose(grid: Sequence[tuple[str, ...]], seed: int, metric: str = KNN) -> tuple[tuple[str, ...], dict[str, float]]:
    """The options of ``grid`` whose learnt encoder is best on *val*, and every value that was compared."""
    found = measure_all([Trial(words, seed) for words in grid], "val", quick=True)
    values = {trial.words: row["rows"]["learnt"][metric] for trial, row in found.items()}
    best = max(values, key=lambda words: values[words])
    return best, {" ".join(words): value for words, value in values.items()}


def finals(
    words: tuple[str, ...], seeds: Sequence[int], *, quick: bool = False, data: str | None = None
) -> list[dict[str, Any]]:
    """The chosen options over ``seeds``, measured on *test* (of ``data``); ``quick``: the kNN only."""
    found = measure_all([Trial(words, seed) for seed in seeds], "test", quick, data)
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
    # Commands name the data that the claim made: where that lies is this machine's business.
    text = json.dumps(result, indent=2).replace(str(_home()), "runs/claims")
    path.write_text(text + "\n", encoding="utf-8")
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


def mean_curve(words: tuple[str, ...], seeds: Sequence[int], metric: str, most: int = 40) -> list[tuple[int, float]]:
    """`curve`, its mean over seeds, at ``most`` steps at most; empty where a seed has none."""
    curves = [dict(curve(words, seed, metric)) for seed in seeds]
    steps = sorted(set.intersection(*(set(one) for one in curves)))
    kept = steps[:: max(1, -(-len(steps) // most))]
    return [(step, round(fmean(one[step] for one in curves), 5)) for step in kept]


def write_images(place: Path, data: Any, parts: dict[str, Any], labels: Any) -> None:
    """Write an archive of some of a vision dataset's images: ``parts`` split -> rows; ``labels`` of all rows."""
    import numpy as np

    arrays = {}
    for part, rows in parts.items():
        images = data.batch(rows.tolist()).data["image"]
        arrays |= {f"{part}_images": images.permute(0, 2, 3, 1).numpy(), f"{part}_labels": labels[rows]}
    np.savez(place, **arrays)
