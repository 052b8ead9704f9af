"""Which settings suit a table: a few are tried, and the one that is best on val is kept.

What is right for a sparse log (several layers, the table left out, strong contrast) is wrong for a dense one, and no
count of the table tells the two apart surely; a look at val does. The test part has no say in it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from counterpoint.errors import ConfigError, CounterpointError, Interrupted, RunError, message
from counterpoint.files import write_text
from counterpoint.run import CONFIG, Run, is_run
from counterpoint.training import config as configs
from counterpoint.training.directory import clear
from counterpoint.workflow import resume_run, start_run

TRIED = "tried.json"
WISH = "wish.json"
NEAR = ("--optimization.lr=0.01", "--encoder.layers=1", "--method.lambda2=0.01")
CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "XSimGCL": ("graphrec/xsimgcl", "--encoder.layers=2", "--method.weight=0.05"),
    "XSimGCL, one layer": (
        "graphrec/xsimgcl",
        *NEAR,
        "--encoder.first_layer=0",
        "--method.weight=0.01",
        "--method.temperature=0.2",
        "--method.eps=0.1",
    ),
    "LightGCN, one layer": ("graphrec/lightgcn", *NEAR),
}
"""Name -> recipe and settings: for sparse tables, for dense ones, and one without contrast."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate, trained.

    Attributes:
        name: of the candidate.
        value: its best epoch's metric on val.
        epoch: that epoch, from 1.
        seconds: of training.
        path: run directory.
        report: whether a report was asked for.
    """

    name: str
    value: float
    epoch: int
    seconds: float
    path: Path
    report: bool


def best_of(table: str, out: Path, options: Sequence[str], *, overwrite: bool) -> Run:
    """Try every candidate, show how they did, and make the best one the run at ``out``.

    Stopped in between, the same words go on: candidates that are done are not trained again.

    Args:
        table: file or name of a data set.
        out: run directory; the trials stand beside it, in ``<out>-trials``, until the best is chosen.
        options: for `counterpoint pretrain`, the same for all.
        overwrite: replace the run that is at ``out``.

    Raises:
        ConfigError: options of a method or an encoder, which only one candidate has.
        RunError: something is at ``out`` already.
        Interrupted: Ctrl-C; the message says how to go on.
    """
    own = [word for word in options if word.startswith(("--method", "--encoder", "--config", "--select"))]
    if own:
        todo = "Say which --method they are for, e.g. --method xsimgcl."
        raise ConfigError(message("fit --method auto", " ".join(own), "options that every method has", todo))
    if out.exists() and any(out.iterdir()) and not (overwrite and is_run(out)):
        raise RunError(f"--out {out}: there is something already. Choose another, or start again with --overwrite.")
    home = out.with_name(f"{out.name}-trials")
    trials: list[Trial] = []
    try:
        for number, (name, words) in enumerate(CANDIDATES.items()):
            trials.append(_tried(name, home / f"{number}", table, [*words, f"--data={table}", *options]))
    except Interrupted as stop:
        raise Interrupted(f"Stopped; what was done is kept in {home}, and the same command goes on.") from stop
    except CounterpointError:
        if not trials:  # the table or an option is not right: nothing is worth keeping
            shutil.rmtree(home, ignore_errors=True)
        raise
    best = max(trials, key=lambda trial: trial.value)
    _show(trials, best)
    _move(best, trials, out)
    shutil.rmtree(home)
    return Run(out)


def _tried(name: str, path: Path, table: str, words: list[str]) -> Trial:
    """The candidate, trained: as it was, to its end, or anew if the words or the table were others then."""
    Console().print(f"[bold]Trying {escape(name)}[/]")
    config = configs.parse([*words, f"--out={path}"])
    report, config.report = config.report, False
    wish, note = [*words, *_state(Path(table))], path.with_suffix(f".{WISH}")
    again = note.is_file() and json.loads(note.read_text(encoding="utf-8")) == wish
    if again and is_run(path):
        run = resume_run(path)
    else:
        write_text(note, json.dumps(wish))
        run = start_run(config, overwrite=path.exists())
    facts = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    selected = facts["selected"]
    return Trial(name, selected["value"], int(selected["epoch"]) + 1, facts["seconds"], path, report)


def _state(table: Path) -> list[int]:
    """Size and time of a table that is a file: where they differ, what was trained before is of other data."""
    if not table.is_file():
        return []
    found = table.stat()
    return [found.st_size, found.st_mtime_ns]


def _show(trials: Sequence[Trial], best: Trial) -> None:
    table = Table(title="tried, on val")
    for number, heading in enumerate(("", "recall@20", "best epoch", "seconds", "")):
        table.add_column(heading, justify="right" if 0 < number < 4 else "left")
    for trial in trials:
        kept = "kept" if trial is best else ""
        table.add_row(trial.name, f"{trial.value:.4f}", f"{trial.epoch}", f"{trial.seconds:.0f}", kept)
    Console().print(table)


def _move(best: Trial, trials: Sequence[Trial], out: Path) -> None:
    """Put the best run where it was wished for, under that name."""
    path = best.path / CONFIG
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    write_text(path, yaml.safe_dump({**config, "out": str(out), "report": best.report}, sort_keys=False))
    told = {trial.name: {"recall@20 on val": trial.value, "epoch": trial.epoch} for trial in trials}
    write_text(best.path / TRIED, json.dumps({"kept": best.name, "tried": told}, indent=2) + "\n")
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    for path in best.path.iterdir():
        path.replace(out / path.name)
