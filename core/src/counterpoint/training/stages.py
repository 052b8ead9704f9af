"""Multistage contrastive learning (MCL): encoders one after the other, each for what the others leave out.

A stage is a run of its own in ``stages/<number>``. From the second on its batches come from cells: what the encoders
before it put together (`counterpoint.training.cells`). The run itself has the encoders side by side.

Source: Zhang et al. 2024 (arXiv 2402.11816).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, DataError, Interrupted, RunError, message
from counterpoint.files import write_text
from counterpoint.nn import ConcatEncoder
from counterpoint.parts import Dataset
from counterpoint.run import CONFIG, Run
from counterpoint.training import config as configs
from counterpoint.training._tables import STAGES
from counterpoint.training.cells import NONE, merge_small, read_cells, refine, write_cells
from counterpoint.training.checkpoints import LAST, resume_command
from counterpoint.training.data import mix, workers_for
from counterpoint.training.embedding import Embedded, Encode, embed, encode_with
from counterpoint.training.encoder_files import read_config
from counterpoint.training.export import Facts, described, export, is_first_process
from counterpoint.training.logs import join, read_metrics
from counterpoint.training.recipes import find_recipe
from counterpoint.training.settings import Stages, settings_of
from counterpoint.training.tables import bar, tell_damaged
from counterpoint.types import View

CELLS = "cells.parquet"
FAILED = "cells.failed"
"""Says why there are no cells, to the processes that wait for them."""
MINI_BATCH = 1_000_000
"""Rows of a step of k-means, as in the released script."""
Fit = Callable[[Namespace, "Path | None"], Run]
"""Configuration and the checkpoint to go on from -> a finished run."""


def fit_stages(config: Namespace, fit: Fit, *, resumed: bool) -> Run:
    """Train stage after stage in ``config.out``, and save their encoders side by side.

    Args:
        config: complete configuration, with two stages or more.
        fit: trains one stage.
        resumed: whether to keep what is there: stages that are finished, cells, a stage's last checkpoint.

    Raises:
        ConfigError: a modality to cluster by that the plugin does not have, or a method that has no stages.
        Interrupted: Ctrl-C or SIGTERM; the state is saved and the message says how to go on.
    """
    stages, out = Stages(**config.stages.as_dict()), Path(config.out)
    recipe = find_recipe(config.recipe)
    if recipe.tunes or recipe.method.load().contrasted:
        todo = "Stages are for what learns one encoder without labels."
        raise ConfigError(message("stages.count", stages.count, f"1 for {recipe.name}", todo))
    modalities = recipe.plugin.modalities
    if stages.modality is not None and stages.modality not in modalities:
        raise ConfigError(message("stages.modality", repr(stages.modality), ", ".join(modalities)))
    paths = [out / STAGES / str(number) for number in range(stages.count)]
    mended = {path: _stamp(path) for path in paths}
    if is_first_process():
        write_text(out / CONFIG, configs.dump(config))
    try:
        for number, path in enumerate(paths):
            if not (resumed and (path / "run.json").is_file()):
                _stage(config, stages, number, path, fit, resumed, mended[path])
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped between two stages. Go on with: {resume_command(out)}") from None
    finally:
        if is_first_process():
            join([path for path in paths if path.is_dir()], out)
    if is_first_process():
        _save(config, stages, [Run(path) for path in paths], out)
    return Run(out)


def _stage(
    config: Namespace, stages: Stages, number: int, path: Path, fit: Fit, resumed: bool, mended: int | None = None
) -> None:
    """Cluster, or wait for who does, and train; ``mended`` is the stamp of a failure from an earlier attempt."""
    if is_first_process():
        Console().print(f"[bold]Stage {number}[/] ({number + 1} of {stages.count})", soft_wrap=True)
        if number and not (resumed and (path / CELLS).is_file()):
            _clustered(config, stages, number, path)
    if number:
        _wait(path, mended)
    checkpoint = path / LAST
    goes_on = resumed and checkpoint.is_file()
    fit(_configured(config, stages, number, path, goes_on), checkpoint if goes_on else None)


def _wait(path: Path, mended: int | None) -> None:
    """Until the first process has written the cells: before a stage there is no process group to wait in."""
    while not (path / CELLS).is_file():
        if _stamp(path) not in (None, mended):
            why = (path / FAILED).read_text(encoding="utf-8")
            raise RunError(f"The first process could not make {path / CELLS}: {why}")
        time.sleep(1)


def _stamp(path: Path) -> int | None:
    """Tells one failure of a stage from another, whatever the clock says; None: there is none."""
    failed = path / FAILED
    return failed.stat().st_mtime_ns if failed.is_file() else None


def _configured(config: Namespace, stages: Stages, number: int, path: Path, goes_on: bool) -> Namespace:
    """The configuration of a stage: one of a plain run."""
    own = configs.parse(["--config", str(path / CONFIG)]) if goes_on else config.clone()
    own.out, own.stages = str(path), Namespace(**asdict(Stages()))
    if number:
        own.cells = str((path / CELLS).resolve())
        if stages.init == "fresh":
            own.seed = mix(config.seed, "stage", number) % 2**31
        elif stages.init == "previous":
            own.init = str((path.parent / str(number - 1)).resolve())
    return own


def _clustered(config: Namespace, stages: Stages, number: int, path: Path) -> None:
    """`_cluster`; if it fails, the processes that wait for it hear of it."""
    (path / FAILED).unlink(missing_ok=True)
    try:
        _cluster(config, stages, number, path)
    except BaseException as error:  # Ctrl-C too: whoever waits must not wait for ever
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / FAILED, f"{type(error).__name__}: {error}")
        raise


def _cluster(config: Namespace, stages: Stages, number: int, path: Path) -> None:
    """Write the cells of a stage: what the clusterings before it put together."""
    from counterpoint.evaluation.clustering import kmeans  # loads scikit-learn

    before = Run(path.parent / str(number - 1))
    dataset = before.open()
    indices = dataset.splits()["train"]
    earlier = config.cells if number == 1 or stages.cells == "latest" else before.path / CELLS
    parents = read_cells(Path(earlier), indices) if earlier else np.zeros(len(indices), dtype=np.int64)
    found = _embedded(before, dataset, indices, stages.modality or before.views.modalities[0])
    features = F.normalize(found.features, dim=1)
    clusters, cells = (np.full(len(indices), NONE, dtype=np.int64) for _ in range(2))
    known = np.isin(indices, found.index.numpy())
    clusters[known] = kmeans(features, stages.clusters, seed=config.seed, mini_batch=MINI_BATCH).numpy()
    inside = known & (parents > NONE)
    least = stages.min_cell or int(before.config["batch_size"]) * int(_facts(before)["processes"])
    refined = refine(parents[inside], clusters[inside])
    cells[inside] = merge_small(refined, parents[inside], features.numpy()[inside[known]], least)
    if len(np.unique(cells[inside])) == len(np.unique(parents[inside])) and stages.clusters > 1:
        told = f"All clusters are smaller than a step of {least} samples and merged: this stage is an ordinary run."
        todo = "Lower batch_size or stages.clusters, or set stages.min_cell."
        Console().print(f"{told} {todo}", style="bold", soft_wrap=True)
    write_cells(path / CELLS, indices, {"cell": cells, "cluster": clusters})


def _embedded(run: Run, dataset: Dataset, indices: np.ndarray, modality: str) -> Embedded:
    """Features of the training samples under plain views, of one modality."""
    settings, console = settings_of(Namespace(**run.config)), Console()
    run.to("cuda" if torch.cuda.is_available() and settings.accelerator != "cpu" else "cpu")
    with bar(console) as progress:
        work = progress.add_task("embedding", total=len(indices))
        found = embed(
            _of(modality, encode_with(run.encoder)),
            run.views,
            dataset,
            indices.tolist(),
            workers=workers_for(dataset, settings),
            device=run.device,
            tick=lambda count: progress.update(work, advance=count),
        )
    run.to("cpu")
    tell_damaged(console, found)
    if not len(found.index):
        raise DataError(f"None of the {len(indices)} training samples can be read, so there is nothing to cluster.")
    return found


def _of(modality: str, encode: Encode) -> Callable[[View], Tensor | None]:
    """``encode`` of one modality's views, nothing of the others'."""

    def chosen(view: View) -> Tensor | None:
        return encode(view) if view.modality == modality else None

    return chosen


def _save(config: Namespace, stages: Stages, runs: list[Run], out: Path) -> None:
    """Write the run's encoder and ``run.json``."""
    encoder = ConcatEncoder([run.encoder for run in runs], stages.norm)
    parts = [read_config(run.path / "encoder")["encoder"] for run in runs]
    told = described(config) | {
        "encoder": {
            "class_path": "counterpoint.nn.ConcatEncoder",
            "init_args": {"encoders": parts, "norm": stages.norm},
        }
    }
    each = [_facts(run) for run in runs]
    steps, seconds = (sum(one[key] for one in each) for key in ("steps", "seconds"))
    done = sum(one["samples_per_second"] * one["seconds"] for one in each)
    untimed = sum(one.get("untimed", 0) for one in each)
    told_each = [*map(_told, runs, each)]
    facts = Facts(each[0]["samples"], steps, seconds, done / seconds, None, each[0]["processes"], untimed, told_each)
    export(out, config, encoder, told, runs[0].open(), facts)
    names = ", ".join(f"{STAGES}/{run.path.name}" for run in runs)
    Console().print(f"Encoders of {names} side by side, {encoder.dim} dimensions. Run: {out}", soft_wrap=True)


def _told(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says of a stage."""
    logged = read_metrics(run.path)
    cells = {key: logged[f"data/{key}"][-1][1] for key in ("cells", "coverage") if f"data/{key}" in logged}
    kept = {key: facts[key] for key in ("seed", "steps", "seconds", "selected") if key in facts}
    return kept | cells


def _facts(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    return found
