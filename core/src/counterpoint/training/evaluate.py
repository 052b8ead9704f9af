"""``counterpoint evaluate``: a run's encoder, beside the raw input and the untrained encoder, on sealed data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from counterpoint.evaluation.baselines import Pca
from counterpoint.evaluation.suite import comparison, evaluate_arrays, to_json
from counterpoint.files import write_text
from counterpoint.parts import Dataset, Encoder, Protocol
from counterpoint.run import Run
from counterpoint.training.data import mix
from counterpoint.training.embedding import Embedded, Encode, embed, encode_with, raw_input
from counterpoint.training.encoder_files import build, read_config
from counterpoint.training.evaluate_tuned import measure_tuned
from counterpoint.training.export import machine, versions
from counterpoint.training.separation import facts as homes
from counterpoint.training.separation import metrics as probes
from counterpoint.training.separation import separation
from counterpoint.training.tables import bar, tell_damaged

FEW = 50
"""Fewer samples measured: one is 2 points of accuracy and more."""
PAIRS = 1000  # held-out samples of which two views are made
Rows = dict[str, dict[str, float]]
LEARNT, UNTRAINED, RAW, PCA = "learnt", "untrained", "raw input", "raw input, PCA"


@dataclass(slots=True)
class Evaluation:
    """Metrics of one run.

    Attributes:
        rows: row name -> metric -> value; the learnt encoder first, then the baselines.
        split: which split was measured.
        classes: number of classes, or None.
        samples: how many were measured, or None where a protocol decides.
        path: the JSON file with everything that the numbers depend on.
    """

    rows: dict[str, dict[str, float]]
    split: str
    classes: int | None
    samples: int | None
    path: Path


def evaluate_run(
    run: str | Path | Run,
    *,
    data: str | None = None,
    split: str = "test",
    out: Path | None = None,
    quick: bool = False,
) -> Evaluation:
    """Measure a run's encoder beside its baselines.

    The bank of the kNN and the probes' training samples are always the train split; whatever is chosen (the probe's
    C) is chosen on val; ``split`` is only measured. A plugin with a protocol of its own measures by that; of a run that
    was fine-tuned its head's answers are measured.

    Args:
        run: run or its directory.
        data: other data than the run's own.
        split: "val" or "test".
        out: JSON file (default: ``evaluation-<split>.json`` in the run).
        quick: of the label metrics only the kNN, and no PCA: seconds where the probes need minutes.
    """
    run = run if isinstance(run, Run) else Run(run)
    dataset = run.open(data)
    console = Console()
    told: dict[str, Any] = {}
    samples: int | None = len(dataset.splits()[split])
    if run.tuned:
        found = measure_tuned(run, dataset, split, console, dataset if data is None else run.open())
        answers = {"accuracy": found.predicted}
        rows, more = found.rows, {"confusion": _confusion(run.head.classes or None, found.found, answers)}
        told, samples = {"task": run.head.task, "pairs": found.pairs()}, len(found.found.index)
    elif run.plugin.protocol is not None:
        rows, more = _by_protocol(run, dataset, split, quick, console), {"confusion": None}
        samples = None
    else:
        rows, more = _by_features(run, dataset, split, quick, console)
    classes = None if dataset.classes is None else len(dataset.classes)
    path = out or run.path / f"evaluation-{split}.json"
    facts = _facts(run, dataset, data, split)
    write_text(path, to_json(rows, classes=classes, samples=samples, **facts, **more, **told))
    return Evaluation(rows, split, classes, samples, path)


def _by_protocol(run: Run, dataset: Dataset, split: str, quick: bool, console: Console) -> Rows:
    """The plugin's own metrics of the learnt and the untrained encoder, and of what needs none."""
    protocol: Protocol = run.plugin.protocol.load()()
    with console.status("measuring") as status, torch.no_grad():
        rows = {
            name: protocol.measure(encoder, run.views, dataset, split)
            for name, encoder in ((LEARNT, run.encoder), (UNTRAINED, untrained(run, dataset)))
        }
        status.update("measuring the floors")
        return rows | protocol.floors(dataset, split, quick)


def _by_features(run: Run, dataset: Dataset, split: str, quick: bool, console: Console) -> tuple[Rows, dict[str, Any]]:
    """Metrics of the features of learnt and untrained encoder and raw input; what is taken for what; the spaces."""
    used = {name: rows for name, rows in dataset.splits().items() if name != "test" or split == "test"}
    rows: Rows = {}
    answers: dict[str, Tensor] = {}  # of the learnt encoder's probe
    more: dict[str, Any] = {"confusion": None}
    with bar(console) as progress:
        for name, encode in _encoders(run, dataset).items():
            work = progress.add_task(name, total=sum(len(i) for i in used.values()))

            def tick(count: int, work: Any = work) -> None:
                progress.update(work, advance=count)

            found = {
                s: embed(encode, run.views, dataset, i.tolist(), device=run.device, tick=tick) for s, i in used.items()
            }
            views = _two_views(encode, run, dataset, used[split])
            rows[name] = _measure(found, split, run, quick, views, answers if name == LEARNT else None)
            if name != RAW and not quick:
                apart = separation(run.encoder, dataset, found, split, int(run.config["seed"]))
                rows[name] |= probes(apart)
                more |= {"spaces": homes(apart)} if apart else {}
            if name == RAW and not quick:
                rows[PCA] = _measure(_reduced(found), split, run, quick)
            if name == LEARNT:
                more["confusion"] = _confusion(dataset.classes, found[split], answers)
                for embedded in found.values():
                    tell_damaged(console, embedded)
    return rows, more


def _encoders(run: Run, dataset: Dataset) -> dict[str, Callable[..., Tensor]]:
    return {LEARNT: encode_with(run.encoder), UNTRAINED: encode_with(untrained(run, dataset)), RAW: raw_input}


def untrained(run: Run, dataset: Dataset) -> Encoder:
    """An encoder of the run's shape with fresh weights, drawn from the run's seed: the baseline of every table.

    Args:
        run: the run.
        dataset: the run's data, from which the encoder takes what it was made of.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(run.config["seed"]))
        encoder: Encoder = build(run.plugin, "encoders", read_config(run.path / "encoder")["encoder"])
        encoder.prepare(dataset)
    return encoder.eval().requires_grad_(False).to(run.device)


def _reduced(found: dict[str, Embedded]) -> dict[str, Embedded]:
    reduce = Pca(found["train"].features)
    return {s: replace(e, features=reduce(e.features)) for s, e in found.items() if len(e.index)}


def _measure(
    found: dict[str, Embedded],
    split: str,
    run: Run,
    quick: bool,
    views: tuple[Tensor, Tensor] | None = None,
    answers: dict[str, Tensor] | None = None,
) -> dict[str, float]:
    features = {s: e.features for s, e in found.items()}
    labels = {s: e.labels for s, e in found.items() if e.labels is not None}
    seed = int(run.config["seed"])
    return evaluate_arrays(
        features, labels or None, split=split, seed=seed, views=views, quick=quick, predictions=answers
    )


def confusion_counts(true: Tensor, predicted: Tensor, classes: int) -> np.ndarray:
    """``(classes, classes)`` counts: rows are the true classes, columns the predicted."""
    pairs = torch.bincount(true.cpu() * classes + predicted.cpu(), minlength=classes**2)
    counts: np.ndarray = pairs.reshape(classes, classes).numpy()
    return counts


def _confusion(classes: Sequence[str] | None, measured: Embedded, answers: dict[str, Tensor]) -> dict[str, Any] | None:
    """What the learnt encoder's probe, or head, took for what; None where there was none."""
    floating = any(predicted.is_floating_point() for predicted in answers.values())
    if not answers or floating or measured.labels is None or classes is None:
        return None
    ((metric, predicted),) = answers.items()
    true = measured.labels[measured.labels >= 0]
    counts = confusion_counts(true, predicted, len(classes))
    return {"metric": metric, "classes": classes, "counts": counts.tolist()}


@torch.no_grad()
def _two_views(encode: Encode, run: Run, dataset: Dataset, indices: np.ndarray) -> tuple[Tensor, Tensor] | None:
    """Features of two training views of the same held-out samples: alignment, and the label-free view retrieval."""
    generator = torch.Generator().manual_seed(mix(run.config["seed"], "two views"))
    pairs: list[tuple[Tensor, Tensor]] = []
    for start in range(0, min(len(indices), PAIRS), 256):
        batch = dataset.batch(indices[start : min(start + 256, PAIRS)].tolist()).to(run.device)
        if len(batch):
            made = [view for view in run.views(batch, generator) if view.role == "global"]
            if len(made) < 2 or made[0].modality != made[1].modality:
                return None
            pairs.append((encode(made[0]).cpu(), encode(made[1]).cpu()))
    return (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])) if pairs else None


def _facts(run: Run, dataset: Dataset, data: str | None, split: str) -> dict[str, Any]:
    return {
        "run": run.path.name,
        "recipe": run.config["recipe"],
        "data": str(run.sources) if data is None else data,
        "digest": dataset.digest(),
        "split": split,
        "seed": run.config["seed"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
    }


def show(evaluation: Evaluation) -> None:
    """Print the table and where its file is."""
    console = Console()
    title = f"{evaluation.split} split" + ("" if evaluation.samples is None else f", {evaluation.samples} samples")
    console.print(comparison(evaluation.rows, classes=evaluation.classes, title=title))
    if evaluation.samples is not None and evaluation.samples < FEW:
        console.print(f"Of {evaluation.samples} samples: one more or less of them right changes these numbers visibly.")
    console.print(f"Everything that these numbers depend on: {evaluation.path}")
