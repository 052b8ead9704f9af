"""What a section of the report may look at. Everything is read when first asked for, and at most once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from counterpoint.errors import CounterpointError
from counterpoint.evaluation.table import from_json
from counterpoint.methods.finetune import first_global
from counterpoint.methods.registry import FINE_TUNING
from counterpoint.parts import Dataset
from counterpoint.report.section import Preview, number_whole
from counterpoint.run import Run
from counterpoint.training._tables import stages_of
from counterpoint.training.data import mix
from counterpoint.training.embedding import Embedded
from counterpoint.training.evaluate_tuned import taught
from counterpoint.training.logs import TIMING, read_metrics
from counterpoint.training.scores import Histogram, read_scores
from counterpoint.training.supervision import supervision_of, views_of
from counterpoint.training.verdict import STARTED, UNTRAINED, Verdict, diagnose, stopped_by
from counterpoint.types import Damaged, View

HELD_OUT, BANK = 1000, 2000
"""Samples of val and train, at most, that are embedded for the report."""
SIDE = 64
"""Pixels of a thumbnail's longer side."""
TASK_WORDS: dict[str, dict[str, tuple[str, str]]] = {
    "classify": {
        "accuracy": ("Accuracy", "share of samples that are right"),
        "balanced_accuracy": ("Balanced accuracy", "the same with every class counting alike"),
    },
    "regress": {
        "spearman": ("Rank correlation", "Spearman: are they in the right order"),
        "pearson": ("Correlation", "Pearson: do they lie on a line"),
        "r2": ("Variance explained", "R²: 0 is as good as the mean"),
    },
}
"""The metrics of a task that have a scale of their own, in plain words."""
Metrics = dict[str, list[tuple[int, float]]]


class Missing(Exception):
    """What a section needs is not there, and no bug is to blame; the text says what, and what would bring it."""


class Context:
    """A run as the report sees it.

    The test split is never opened here: numbers of it come from ``evaluation-test.json`` alone.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @property
    def config(self) -> dict[str, Any]:
        """The complete configuration."""
        return self.run.config

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: digest, seconds, versions, machine; empty while the run is not finished."""
        return _json(self.run.path / "run.json")

    @property
    def finished(self) -> bool:
        """Whether training went to its end."""
        return bool(self.facts)

    @property
    def stopped_by(self) -> str:
        """Why a batch stopped the run: a number in it was not finite; empty where none did or training went on."""
        if self.finished:
            return ""
        metrics = read_metrics(self.stages[-1]) if self.stages else self.metrics
        found = stopped_by((self.stages or [self.run.path])[-1], metrics)
        return str(found.get("reason", ""))

    @property
    def kept(self) -> Mapping[str, Any]:
        """``by``, ``value``, ``epoch`` (from 0), ``step`` of the look whose encoder was kept; empty: the last one."""
        return self.facts.get("selected") or {}

    def look(self, metric: str) -> float | None:
        """``val/<metric>`` of the encoder that was kept, else the newest; None where nobody looked."""
        looks = dict(self.metrics.get(f"val/{metric}", ()))
        newest = next(reversed(looks.values()), None)
        return looks.get(self.kept["step"], newest) if self.kept else newest

    @property
    def untimed(self) -> str:
        """What seconds and samples per second leave out, in words; empty of a run that was never resumed."""
        updates = int(self.facts.get("untimed", 0))
        return f", without {number_whole(updates)} updates before it was resumed" if updates else ""

    def command(self, verb: str) -> str:
        """What to type for ``verb`` of this run; a path with spaces stays one word."""
        return f"counterpoint {verb} {shlex.quote(str(self.run.path))}"

    @cached_property
    def metrics(self) -> Metrics:
        """Metric -> ``(step, value)`` pairs; empty where nothing was logged yet."""
        return read_metrics(self.run.path) if (self.run.path / "metrics.csv").is_file() else {}

    @cached_property
    def stages(self) -> list[Path]:
        """Directories of the run's stages that have begun, in their order; empty for a run of one."""
        return stages_of(self.run.path)

    @cached_property
    def timing(self) -> Metrics:
        """The same for what depends on the clock."""
        path = self.run.path / TIMING
        return read_metrics(path) if path.is_file() else {}

    @cached_property
    def scores(self) -> list[Histogram]:
        """Histograms of positive and negative scores, epoch by epoch."""
        return read_scores(self.run.path)

    @cached_property
    def verdict(self) -> Verdict | None:
        """Is it learning? None where nothing was logged yet."""
        return diagnose(self.run.path) if self.metrics else None

    @property
    def task(self) -> str:
        """``"classify"`` or ``"regress"`` of a fine-tuning; empty for a pretraining."""
        name = str(self.config.get("recipe")).rpartition("/")[2]
        return name if name in FINE_TUNING else ""

    @property
    def before(self) -> str:
        """What the encoder was before the first update, in words."""
        return STARTED if self.task else UNTRAINED

    @cached_property
    def supervision(self) -> tuple[str, ...] | None:
        """Those of ``"labels"`` and ``"targets"`` that training took from samples that have them; None: not known."""
        try:
            return supervision_of(self.config["method"])
        except (ImportError, AttributeError):  # the method, or an objective of somebody's own, is not here any more
            return None

    @property
    def labelled(self) -> bool | None:
        """Whether training was given labels; None where nobody can tell any more."""
        return None if self.supervision is None else "labels" in self.supervision

    @cached_property
    def trained_on(self) -> np.ndarray:
        """Positions of samples that training learnt from: all that a fine-tuning was given, else a draw of them.

        Raises:
            Missing: as for `bank`.
        """
        return taught(self.run, self.dataset) if self.task else self.bank.index.numpy()

    def used(self, views: list[View]) -> list[View]:
        """Those of a sample's views that training learnt from."""
        count = views_of(self.config["method"])
        return views if count is None else first_global(views, count)

    @cached_property
    def words(self) -> Mapping[str, tuple[str, str]]:
        """What the task, or the plugin's protocol, calls its metrics; empty where there is neither."""
        if self.task:
            return TASK_WORDS[self.task]
        try:
            part = self.run.plugin.protocol
        except CounterpointError:  # no encoder yet, or the plugin is gone
            return {}
        return {} if part is None else part.load().words

    @property
    def updates(self) -> int:
        """Optimiser updates done."""
        return max((points[-1][0] for points in self.metrics.values() if points), default=0)

    def evaluation(self, split: str) -> dict[str, Any]:
        """What ``counterpoint evaluate --split`` wrote; empty where it did not run."""
        found = _json(self.run.path / f"evaluation-{split}.json")
        return {**found, "metrics": from_json(found.get("metrics", {}))} if found else {}

    @property
    def measured(self) -> dict[str, Any]:
        """The evaluation to show: of the test split where there is one, else of val; empty where there is none."""
        return self.evaluation("test") or self.evaluation("val")

    @cached_property
    def dataset(self) -> Dataset:
        """The run's data.

        Raises:
            Missing: it is not where it was, or its plugin or the encoder is not there.
        """
        if not (self.run.path / "encoder").is_dir():
            raise Missing("This needs the trained encoder, which is written when the run is finished.")
        try:
            return self.run.open()
        except CounterpointError as error:
            raise Missing(f"This needs the run's data, which cannot be opened: {error}") from error

    @cached_property
    def entities(self) -> Dataset:
        """What the maps and neighbours are about: the samples, or what they relate.

        Raises:
            Missing: as for `dataset`.
        """
        return self.dataset.entities()

    @property
    def classes(self) -> int | None:
        """Number of classes, or None where there are none or the data is gone."""
        try:
            return len(self.entities.classes) if self.entities.classes else None
        except Missing:
            return None

    @cached_property
    def held_out(self) -> Embedded:
        """Embeddings of a fixed draw of the entities' validation split.

        Raises:
            Missing: the data is gone, or none of it can be read or has features that are numbers.
        """
        return self._embedded("val", HELD_OUT)

    @cached_property
    def bank(self) -> Embedded:
        """Embeddings of a fixed draw of their training split: where neighbours are looked for, and probes are fitted.

        Raises:
            Missing: the data is gone, or none of it can be read or has features that are numbers.
        """
        return self._embedded("train", BANK)

    def _embedded(self, split: str, largest: int) -> Embedded:
        rows = self.entities.splits()[split]
        if not len(rows):
            raise Missing(f"This run's data has no {_LONG[split]} sample.")
        draw = np.random.default_rng(mix(self.config["seed"], "report", split)).permutation(rows)[:largest]
        found = self.run.features(self.entities, np.sort(draw).tolist())
        if not len(found.index):
            first = found.damaged[0]
            raise Missing(f"None of {len(draw)} {_LONG[split]} samples can be read: {first.name} ({first.reason}), …")
        return _finite(found, _LONG[split])

    def preview(self, index: int, side: int = SIDE) -> Preview:
        """What a person sees of sample ``index``: the plugin's thumbnail, else its name."""
        sample = self.entities[index]
        if isinstance(sample, Damaged):
            return f"{sample.name}: {sample.reason}"
        part = self.run.plugin.thumbnail
        made: Preview = part.load()(sample, side) if part is not None else self.entities.name(index)
        return made

    def class_name(self, label: int | None) -> str:
        """Name of a class; empty where it is not known."""
        if label is None or label < 0:
            return ""
        names = self.entities.classes
        return names[label] if names and label < len(names) else f"class {label}"

    def caption(self, index: int, label: int | None) -> str:
        """The class, or the sample's name where it has none."""
        return self.class_name(label) or self.entities.name(index)


_LONG = {"train": "training", "val": "validation"}


def _finite(found: Embedded, split: str) -> Embedded:
    """Without samples whose features hold NaN or infinity: they are near nothing, and no probe takes them.

    Raises:
        Missing: there are no others.
    """
    sound = torch.isfinite(found.features).all(dim=1)
    if not bool(sound.any()):
        raise Missing(f"The features of all {len(sound)} {split} samples hold numbers that are not finite.")
    return Embedded(
        found.features[sound],
        found.index[sound],
        None if found.labels is None else found.labels[sound],
        found.damaged,
        found.content[sound],
        None if found.targets is None else found.targets[sound],
    )


def labels_of(found: Embedded) -> list[int]:
    """The label of each row, -1 for unknown."""
    return [-1] * len(found.index) if found.labels is None else found.labels.tolist()


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else {}
