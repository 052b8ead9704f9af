"""A run: the directory that one pretraining left, and the trained thing in it, usable in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from counterpoint.errors import ConfigError, DataError, RunError, message
from counterpoint.parts import Dataset
from counterpoint.training.checkpoints import is_tuned, resume_command
from counterpoint.training.config import read_yaml
from counterpoint.training.contrasted import Contrasted
from counterpoint.training.embedding import Embedded, embed, encode_with
from counterpoint.training.encoder_files import build, load_encoder
from counterpoint.training.head_files import Head, Predictions, load_head, predictions
from counterpoint.training.sources import Sources, dataset_class

CONFIG = "config.yaml"


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run directory: its ``config.yaml`` names a recipe and a method."""
    try:
        return {"recipe", "method"} <= read_yaml(path / CONFIG).keys()
    except ConfigError:
        return False


class Run:
    """One run directory.

    Args:
        path: the directory.

    Raises:
        RunError: it is no run directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not is_run(self.path):
            raise RunError(
                f"{self.path}: is no run directory (it has no {CONFIG} of a run). "
                "Runs are made by: counterpoint pretrain"
            )

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def config(self) -> dict[str, Any]:
        """The complete configuration."""
        return read_yaml(self.path / CONFIG)

    @cached_property
    def sources(self) -> Sources:
        """What it learnt from."""
        return Sources.of(self.config)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any, Any]:
        return load_encoder(self.path / "encoder")

    @property
    def encoder(self) -> Any:
        """The trained encoder, in eval mode, without gradients."""
        return self._loaded[0]

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        device: torch.device = next(self.encoder.parameters()).device
        return device

    @property
    def views(self) -> Any:
        """The views whose ``plain`` prepares inputs."""
        return self._loaded[1]

    @property
    def plugin(self) -> Any:
        """The plugin that the run was made with."""
        return self._loaded[2]

    def open(self, source: str | Path | None = None) -> Dataset:
        """The run's own dataset, or another ``source`` that its plugin opens.

        Raises:
            RunError: another source for an encoder that knows the nodes of its training data only.
        """
        sources, described = self.sources, self.config.get("dataset")
        if sources.background is not None and sources.target is not None and source is None:
            options = (described or {}).get("init_args") or {}
            return Contrasted(sources.background, sources.target, self.plugin.name, options.get("options"))
        data = str(sources.data)
        if described and (source is None or str(source) == data or Path(source).resolve() == Path(data)):
            options = {**(described.get("init_args") or {}), "source": data}
            own: Dataset = build(self.plugin, "datasets", {**described, "init_args": options})
            return own
        source = data if source is None else str(source)
        if self.encoder.transductive:
            todo = "Its encoder is made of the nodes that it was trained on. For other data, train anew."
            raise RunError(message("data", repr(source), f"the run's own, {data!r}", todo))
        return dataset_class(self.plugin, source)(source)  # type: ignore[call-arg]

    def features(
        self,
        dataset: Dataset,
        indices: Sequence[int] | None = None,
        *,
        batch_size: int = 256,
        workers: int = 0,
        tick: Callable[[int], None] | None = None,
    ) -> Embedded:
        """Features of ``indices`` (default: all) as the encoder gives them."""
        chosen = range(len(dataset)) if indices is None else indices
        return embed(
            encode_with(self.encoder),
            self.views,
            dataset,
            list(chosen),
            batch_size=batch_size,
            workers=workers,
            device=self.device,
            tick=tick,
        )

    def embed(self, source: str | Path | Dataset, *, batch_size: int = 256, workers: int = 0) -> np.ndarray:
        """Embeddings of everything in ``source``: ``(N, D)`` float32, rows of length 1, in the dataset's order.

        Where samples are relations (clicks), of what they relate (items): see `Dataset.entities`.

        Args:
            source: a folder, table, archive, data set's name, or a dataset.
            batch_size: samples at once.
            workers: reading processes.

        Raises:
            DataError: nothing can be read. Single damaged samples are left out; `features` lists them.
        """
        dataset = (source if isinstance(source, Dataset) else self.open(source)).entities()
        found = self.features(dataset, batch_size=batch_size, workers=workers)
        if not len(found.index):
            raise DataError(f"{source}: none of its {len(dataset)} samples can be read")
        return F.normalize(found.features, dim=1).numpy()

    @cached_property
    def head(self) -> Head:
        """What answers, of a run that was fine-tuned.

        Raises:
            RunError: it was not, or is not yet.
        """
        if not self.tuned and is_tuned(self.config):
            raise RunError(f"{self.path}: is not finished: {resume_command(self.path)}")
        return load_head(self.path / "head")

    @property
    def tuned(self) -> bool:
        """Whether it has a head: it was fine-tuned."""
        return (self.path / "head").is_dir()

    def predict(self, source: str | Path | Dataset, *, batch_size: int = 256, workers: int = 0) -> Predictions:
        """Classes or numbers of everything in ``source``, by a run that was fine-tuned.

        ::

            cp.load("runs/flowers").predict("photos/").answers  # ["rose", "tulip", …], or an array of numbers

        Args:
            source: a folder, table, archive, data set's name, or a dataset.
            batch_size: samples at once.
            workers: reading processes.

        Raises:
            RunError: the run has no head.
            DataError: nothing can be read. Single damaged samples are left out; the answer lists them.
        """
        head, dataset = self.head, source if isinstance(source, Dataset) else self.open(source)
        found = self.features(dataset, batch_size=batch_size, workers=workers)
        if not len(found.index):
            raise DataError(f"{source}: none of its {len(dataset)} samples can be read")
        names = [dataset.name(index) for index in found.index.tolist()]
        return predictions(head, found, names)

    def to(self, device: torch.device | str) -> Run:
        """Move the encoder to ``device``."""
        self.encoder.to(device)
        return self


def load(path: str | Path) -> Run:
    """The run at ``path``: ``cp.load("runs/photos").embed("photos/")``."""
    return Run(path)
