"""A fine-tuned run's answers beside those of the plain loss, of a probe on the frozen encoder, and of a constant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from counterpoint.errors import CounterpointError, DataError, message
from counterpoint.evaluation.linear import linear_probe
from counterpoint.evaluation.regression import l1_regression
from counterpoint.nn.answers import NumberHead
from counterpoint.parts import Dataset
from counterpoint.run import Run
from counterpoint.training.answers import answered, known, measured, supervised
from counterpoint.training.checkpoints import PLAIN
from counterpoint.training.embedding import Embedded
from counterpoint.training.head_files import Head
from counterpoint.training.tables import bar, tell_damaged

FROZEN, CONSTANT = "frozen + probe", "constant"
"""Rows beside ``learnt``: the same training with the plain loss, a linear probe on the encoder that it began with, and
the most frequent class or the median target."""
KEPT = 1000
"""Answers that are written down, for a picture."""


@dataclass(frozen=True, slots=True)
class TunedMeasures:
    """What was measured.

    Attributes:
        rows: row name -> metric -> value.
        predicted: ``(M,)`` the learnt head's classes or numbers.
        found: the samples that it is measured on.
    """

    rows: dict[str, dict[str, float]]
    predicted: Tensor
    found: Embedded

    def pairs(self) -> list[list[float]]:
        """``[true, predicted]`` of up to `KEPT` samples, spread over all; numbers only."""
        if self.found.targets is None or not self.predicted.is_floating_point():
            return []
        rows = np.unique(np.linspace(0, len(self.predicted) - 1, KEPT).astype(int))
        return torch.stack([self.found.targets, self.predicted], dim=1)[rows].tolist()


def measure_tuned(run: Run, dataset: Dataset, split: str, console: Console, own: Dataset) -> TunedMeasures:
    """Measure a fine-tuned run and what it stands beside on the known samples of ``split``.

    Args:
        run: the run.
        dataset: that it is measured on.
        split: of ``dataset``.
        console: for the progress.
        own: the run's own data, from which probe and constant learn as it did.

    Raises:
        DataError: none of its samples has a label or target, or it has classes that the head does not know.
    """
    task = run.head.task
    indices = known(dataset, dataset.splits()[split], task)
    if not len(indices):
        raise DataError(f"split {split!r}: none of its samples has a {'label' if task == 'classify' else 'target'}")
    number = _numbers(run.head, dataset)
    with bar(console) as progress:

        def features(of: Run, rows: np.ndarray, told: str, source: Dataset = dataset) -> Embedded:
            work = progress.add_task(told, total=len(rows))
            found = of.features(source, rows.tolist(), tick=lambda count: progress.update(work, advance=count))
            if source is own or number is None or found.labels is None:
                return found
            return replace(found, labels=number[found.labels])

        found = features(run, indices, "learnt")
        predicted = answered(run.head.module, found)
        rows = {"learnt": measured(predicted, found)}
        plain = run.path / PLAIN
        if (plain / "run.json").is_file():
            beside = features(Run(plain), indices, PLAIN)
            rows[PLAIN] = measured(answered(Run(plain).head.module, beside), beside)
        rows_taught = taught(run, own)
        frozen = _frozen(run, console)
        if frozen is not None:
            train, held_out = features(frozen, rows_taught, FROZEN, own), features(frozen, indices, FROZEN)
            rows[FROZEN] = measured(_probe(task, train, held_out), held_out)
    constant = measured(_constant(task, own, rows_taught, len(found.index)), found)
    rows[CONSTANT] = {name: value for name, value in constant.items() if name != "scatter_ratio"}
    tell_damaged(console, found)
    return TunedMeasures(rows, predicted, found)


def _numbers(head: Head, dataset: Dataset) -> Tensor | None:
    """The head's number of each class of ``dataset``, by name; None where there are no names to go by.

    Raises:
        DataError: a class that the head does not know.
    """
    if head.task != "classify" or dataset.classes is None:
        return None
    known = {name: number for number, name in enumerate(head.classes)}
    strange = [name for name in dataset.classes if name not in known]
    if strange:
        todo = "Measure it on data of the classes that it was taught."
        raise DataError(message("classes of the data", ", ".join(strange), ", ".join(head.classes), todo))
    return torch.tensor([known[name] for name in dataset.classes])


def taught(run: Run, dataset: Dataset) -> np.ndarray:
    """Positions of the training samples of a fine-tuned run in its own data."""
    options = run.config["method"].get("init_args") or {}
    wanted = {key: options.get(key) for key in ("labels_per_class", "labels")}
    return supervised(dataset, run.head.task, int(run.config["seed"]), **wanted)


def _frozen(run: Run, console: Console) -> Run | None:
    """The run whose encoder was fine-tuned, where it is still there."""
    start: Any = run.config.get("start")
    if not start:
        return None
    try:
        begun = Run(Path(start))
        begun.encoder  # noqa: B018 — read now, for the reason must be told here
    except CounterpointError as error:
        console.print(f"Without the frozen encoder: {error}", style="dim", markup=False)
        return None
    return begun.to(run.device)


def _probe(task: str, train: Embedded, found: Embedded) -> Tensor:
    """Answers of a linear probe on frozen features: logistic regression, or least absolute error."""
    if task == "classify" and train.labels is not None:
        return linear_probe(train.features, train.labels, found.features).predictions
    head = NumberHead(train.features.shape[1])
    if train.targets is not None:
        head.set(*l1_regression(train.features, train.targets))
    return answered(head, found)


def _constant(task: str, dataset: Dataset, taught: np.ndarray, count: int) -> Tensor:
    """The most frequent class of the training samples, or their median target, for everybody."""
    if task == "classify" and dataset.labels is not None:
        return torch.full((count,), int(np.bincount(dataset.labels[taught]).argmax()))
    targets = torch.empty(0) if dataset.targets is None else dataset.targets[torch.from_numpy(taught)]
    return torch.full((count,), float(targets.median()))
