"""The four things that a plugin supplies: dataset, views, encoder, task; and a protocol where classes mean nothing.

Subclass these; everything else (every method, training, evaluation, report, embedding) comes with them.
"""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from counterpoint.errors import DataError, message
from counterpoint.types import Batch, Damaged, Encoding, Sample, View

SPLITS = ("train", "val", "test")


def content_id(raw: bytes) -> int:
    """63-bit id of ``raw``: equal content, equal id (BLAKE2b, so accidents are out of reach)."""
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little") >> 1


class Dataset(TorchDataset[Sample | Damaged], ABC):
    """Samples of one or more modalities; labels and targets are optional.

    The constructor of every dataset takes ``source`` (a path or a name) first; the rest are options.

    Attributes:
        labels: ``(N,)`` int64 with -1 for "unknown", or None.
        targets: ``(N,)`` float32 or float64 with NaN for "unknown", or None: a number for each sample, for regression.
        classes: names of the classes, or None.
        absent: ``"labels"`` or ``"targets"`` -> why there are none, where that is known; told where they are needed.
        strata: ``(N,)`` int64, or None: every batch of a training then holds samples of each stratum.
        in_memory: whether samples come without reading files, so that reading processes would only cost.
        notes: what was left out or changed when the source was opened, a sentence each; told at a run's start.
    """

    labels: np.ndarray | None = None
    targets: Tensor | None = None
    classes: list[str] | None = None
    absent: Mapping[str, str] = MappingProxyType({})
    strata: np.ndarray | None = None
    in_memory: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether this dataset can open ``source`` (cheap: a look at the name or the first entry)."""
        return False

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample | Damaged:
        """Sample number ``index``; an unreadable one comes back as `Damaged`, never as an exception."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What a person calls sample ``index``: a path relative to the source, a row id."""

    @abstractmethod
    def digest(self) -> str:
        """Hex digest that changes when the data changes; written into every result."""

    def splits(self) -> dict[str, np.ndarray]:
        """Indices of ``train``, ``val`` and ``test``: disjoint, together everything.

        The default draws each sample's part from a hash of its *name*, so adding files moves no other file. With
        labels or targets 10 % go to each of val and test, without 5 %. Override where the data has official splits.
        """
        share = 5 if self.labels is None and self.targets is None else 10
        draw = np.fromiter(
            (content_id(self.name(i).encode()) % 100 for i in range(len(self))), dtype=np.int64, count=len(self)
        )
        part = np.where(draw < share, 2, np.where(draw < 2 * share, 1, 0))
        return {split: np.flatnonzero(part == number) for number, split in enumerate(SPLITS)}

    def entities(self) -> Dataset:
        """What embeddings, maps and neighbours are about: the samples themselves.

        Override where a sample is a relation between things (a click, an edge): then it is those things, e.g. one
        sample an item. Training is on the samples all the same.
        """
        return self

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at ``indices`` as one `Batch`. Override where a batch is quicker to make than its samples."""
        return self.collate([self[int(index)] for index in indices])

    def collate(self, samples: Sequence[Sample | Damaged]) -> Batch:
        """Samples -> `Batch`; tensors of one shape are stacked, of several shapes kept as a list."""
        good = [s for s in samples if isinstance(s, Sample)]
        damaged = [s for s in samples if isinstance(s, Damaged)]
        names = list(good[0].data) if good else []
        data: dict[str, Tensor | list[Tensor]] = {}
        for modality in names:
            values = [torch.as_tensor(s.data[modality]) for s in good]
            data[modality] = _stacked(values) if len({v.shape for v in values}) == 1 else values
        label = target = None
        if self.labels is not None:
            label = torch.tensor([-1 if s.label is None else s.label for s in good], dtype=torch.int64)
        if self.targets is not None:
            target = torch.tensor([math.nan if s.target is None else s.target for s in good], dtype=self.targets.dtype)
        return Batch(
            data=data,
            index=torch.tensor([s.index for s in good], dtype=torch.int64),
            # Content that is not known is nobody's duplicate: the index, which is unique, stands for it.
            content=torch.tensor([s.content or s.index for s in good], dtype=torch.int64),
            label=label,
            target=target,
            damaged=damaged,
        )


def _stacked(values: list[Tensor]) -> Tensor:
    """One tensor; pictures whose channels lie side by side, as decoders give them, stay so: crops of them are cheap."""
    if all(v.dim() == 3 and not v.is_contiguous() and v.permute(1, 2, 0).is_contiguous() for v in values):
        return torch.stack([v.permute(1, 2, 0) for v in values]).permute(0, 3, 1, 2)
    return torch.stack(values)


class Views(ABC):
    """Batch of samples -> two or more batches of views, vectorised over the batch on the tensors' own device.

    All randomness comes from ``generator`` (on the CPU: parameters are small, pixels are not), so that a step's
    views are a function of (seed, step) alone and a resumed run sees what an undisturbed one would have seen.
    """

    modalities: ClassVar[tuple[str, ...]]

    @abstractmethod
    def __call__(self, batch: Batch, generator: torch.Generator) -> list[View]:
        """Training views, global ones first. Each view has ``B`` rows in the batch's order."""

    @abstractmethod
    def plain(self, batch: Batch) -> list[View]:
        """What evaluation sees: one deterministic view per modality (resize and centre crop, no augmentation)."""


class Encoder(nn.Module, ABC):
    """View -> `Encoding`.

    Attributes:
        dim: width of ``Encoding.pooled``.
        capabilities: any of ``"tokens"``, ``"masking"``, ``"dense"``, ``"modalities"``, ``"graph"``; a method declares
            its needs.
        feature_dims: modality -> width of ``Encoding.features``; of encoders of several modalities that give them.
        transductive: whether it is made of its training data's own samples, known by their number (the nodes of a
            graph): other data than the run's is then refused, and no micro-batch is chosen, as each pass goes over all
            of them whatever rows are asked for.
    """

    dim: int
    capabilities: frozenset[str] = frozenset()
    transductive: bool = False

    @classmethod
    def blank(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """``arguments`` without what would bring weights from elsewhere: a saved encoder brings its own.

        Also the arguments of the untrained baseline. Override where an argument fetches or reads weights.
        """
        return dict(arguments)

    def prepare(self, dataset: Dataset) -> None:
        """Take from the *train* split what the network is made of: a graph, a vocabulary, statistics.

        Called once, before a method is built around a new encoder; a loaded encoder has it from its weights, so what is
        taken must be in parameters and buffers (which then shape themselves when a state is loaded). Override where
        data shapes the network; weights are drawn from torch's global generator.
        """

    @abstractmethod
    def forward(self, view: View) -> Encoding:
        """Encode a view of ``B`` rows."""


class Towers(Encoder):
    """Several encoders behind one door: the view's modality picks the tower.

    With this, SimCLR over an image view and a text view *is* CLIP without the learnt temperature. The towers may differ
    in width: the pair method gives each a projector of its own (``dims``).

    Args:
        towers: modality name -> encoder.
    """

    capabilities = frozenset({"modalities"})

    def __init__(self, towers: dict[str, Encoder]) -> None:
        super().__init__()
        if not towers:
            raise DataError(message("towers", "none", "one encoder per modality"))
        self.towers = nn.ModuleDict(towers)
        self.dims = {name: tower.dim for name, tower in towers.items()}
        self.dim = next(iter(self.dims.values()))

    @property
    def feature_dims(self) -> dict[str, int]:
        """Modality -> width of what its tower gives: of ``features``, where a subclass projects that further."""
        widths: dict[str, int] = {name: tower.dim for name, tower in self.towers.items()}  # type: ignore[misc]
        return widths

    def forward(self, view: View) -> Encoding:
        """Encode with the tower of ``view.modality``."""
        if view.modality not in self.towers:
            raise DataError(message("view.modality", repr(view.modality), ", ".join(self.towers)))
        encoding: Encoding = self.towers[view.modality](view)
        return encoding


class Task(ABC):
    """A downstream use of embeddings: ``fit``, ``predict``, ``evaluate`` on arrays, never on models."""

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor | None = None) -> Task:
        """Learn from ``(N, D)`` features and, where the task wants them, ``(N,)`` labels."""

    @abstractmethod
    def predict(self, features: Tensor) -> Any:
        """Answers for ``(M, D)`` features."""

    @abstractmethod
    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Metrics on ``(M, D)`` features with ``(M,)`` labels; a metric's name carries its protocol."""


class Protocol(ABC):
    """How a modality's encoders are measured where classes are not the point: by ranking, segments, forecasts.

    ``counterpoint evaluate`` shows its numbers for the learnt and the untrained encoder beside the floors, and training
    those of the learnt one on val, where they choose the best epoch if ``select`` names one of them.

    Attributes:
        words: the few metrics that people look at first -> a plain name, and what it says; shares from 0 to 1, of which
            more is better.
    """

    words: ClassVar[Mapping[str, tuple[str, str]]] = {}

    @abstractmethod
    def measure(self, encoder: Encoder, views: Views, dataset: Dataset, split: str) -> dict[str, float]:
        """Metrics of ``encoder`` on ``split`` (``"val"`` or ``"test"``); a metric's name carries its protocol.

        Called in evaluation mode, without gradients. Nothing of ``"test"`` may be looked at for ``"val"``.
        """

    def floors(self, dataset: Dataset, split: str, quick: bool) -> dict[str, dict[str, float]]:
        """Row name -> metrics of what needs no encoder: the most popular, the last value, the mean.

        Args:
            dataset: the data.
            split: that is measured.
            quick: leave out what takes more than seconds.
        """
        return {}


def data_home() -> Path:
    """Where data sets live: ``$COUNTERPOINT_DATA``, else ``~/.cache/counterpoint``."""
    home = os.environ.get("COUNTERPOINT_DATA")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "counterpoint"
