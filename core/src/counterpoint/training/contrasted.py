"""A background and targets as one dataset, and batches that hold samples of both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from counterpoint import plugin as plugins
from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS, Dataset
from counterpoint.training.data import StepSampler
from counterpoint.training.sources import dataset_class
from counterpoint.types import Batch, Damaged, Sample

ORIGINS = ("background", "target")
Space = Literal["common", "salient"]


@dataclass(frozen=True, slots=True)
class Factor:
    """Something that is known of the targets, and the space in which it should be found.

    Attributes:
        labels: ``(N,)`` int64 class of each sample, -1 where it is not known or of no matter.
        space: ``"common"`` or ``"salient"``: there a probe should find it, in the other it should be at chance.
        classes: names of the classes.
    """

    labels: np.ndarray
    space: Space
    classes: Sequence[str]


class Contrasted(Dataset):
    """Background and targets, each opened by the plugin's dataset that accepts it; the background's samples come first.

    A sample's label is its origin (0 background, 1 target), its name begins with it, its split is that of its source.

    Args:
        background: a source: what is common, e.g. healthy scans.
        target: a source: the same, and something more.
        plugin: name of the plugin that opens both.
        options: settings of both datasets.

    Raises:
        ConfigError: nothing of the plugin opens a source.
        DataError: a source without samples.
    """

    def __init__(self, background: str, target: str, plugin: str, options: dict[str, Any] | None = None) -> None:
        opener = plugins.get(plugin)
        given = dict(zip(ORIGINS, (background, target)))
        self.parts: list[Dataset] = [
            dataset_class(opener, source, origin)(source, **(options or {}))  # type: ignore[call-arg]
            for origin, source in given.items()
        ]
        for (origin, source), part in zip(given.items(), self.parts):
            if not len(part):
                raise DataError(message(origin, f"{source} without samples", "a source with samples"))
        self.first = len(self.parts[0])  # of the targets
        self.origins = np.repeat(np.arange(2, dtype=np.int64), [len(part) for part in self.parts])
        self.labels = self.strata = self.origins
        self.classes = list(ORIGINS)
        self.in_memory = all(part.in_memory for part in self.parts)
        self.notes = tuple(f"{origin}: {note}" for origin, part in zip(ORIGINS, self.parts) for note in part.notes)
        if self._alike():
            self.notes += ("Background and target are the same samples: nothing tells them apart.",)

    def _alike(self) -> bool:
        """Whether one is a copy of the other; what differs in number is none, and a digest takes its time."""
        background, target = self.parts
        return len(background) == len(target) and background.digest() == target.digest()

    def __len__(self) -> int:
        return len(self.origins)

    def _place(self, index: int) -> tuple[int, int]:
        """Origin, and the number in it."""
        return (1, index - self.first) if index >= self.first else (0, index)

    def __getitem__(self, index: int) -> Sample | Damaged:
        origin, inner = self._place(index)
        sample = self.parts[origin][inner]
        if isinstance(sample, Damaged):
            return replace(sample, index=index, name=self.name(index))
        return replace(sample, index=index, label=origin)

    def collate(self, samples: Sequence[Sample | Damaged]) -> Batch:
        """As the sources' dataset puts samples together; labels are origins."""
        batch = self.parts[0].collate(samples)
        origins = [s.label for s in samples if isinstance(s, Sample)]
        return replace(batch, label=torch.tensor(origins, dtype=torch.int64))

    def name(self, index: int) -> str:
        """The sample's name behind its origin."""
        origin, inner = self._place(index)
        return f"{ORIGINS[origin]}/{self.parts[origin].name(inner)}"

    def digest(self) -> str:
        """Of both sources."""
        return hashlib.sha256("/".join(part.digest() for part in self.parts).encode()).hexdigest()

    def splits(self) -> dict[str, np.ndarray]:
        """Each source's own splits, joined."""
        found = [part.splits() for part in self.parts]
        return {split: np.concatenate([found[0][split], found[1][split] + self.first]) for split in SPLITS}

    def factors(self) -> dict[str, Factor]:
        """What the probes of the two spaces can ask for.

        ``origin`` tells background from target. The targets' own classes come with it where the targets have two or
        more: common, where the background has all of them as well, else salient.
        """
        found = {"origin": Factor(self.origins, "salient", ORIGINS)}
        background, target = self.parts
        if target.labels is not None and target.classes and len(target.classes) > 1:
            space: Space = "common" if set(target.classes) <= set(background.classes or ()) else "salient"
            unknown = np.full(self.first, -1, dtype=np.int64)
            found["class"] = Factor(np.concatenate([unknown, target.labels]), space, target.classes)
        return found


class StratifiedSampler(StepSampler):
    """Batches that hold samples of every stratum, as many as its share of the samples, one at least.

    An epoch has as many batches as `StepSampler`'s. A stratum too small for that is gone through again, each time in
    another order; of the others a few samples are left out.

    Args:
        indices: positions in the dataset to draw from.
        batch_size: rows per rank, no fewer than there are strata.
        seed: together with the epoch it decides the order.
        strata: ``(N,)`` the stratum of every position of the dataset.
        more: ``rank``, ``ranks``, ``epoch``, ``skip`` of `StepSampler`.

    Raises:
        DataError: a batch too small, or one stratum only.
    """

    def __init__(self, indices: np.ndarray, batch_size: int, seed: int, *, strata: np.ndarray, **more: int) -> None:
        super().__init__(indices, batch_size, seed, **more)
        kinds, counts = np.unique(strata[indices], return_counts=True)
        if len(kinds) < 2:
            allowed = "training samples of both background and target"
            raise DataError(message("strata", f"training samples of {len(kinds)} kind(s)", allowed, "Add more."))
        if batch_size < len(kinds):
            raise DataError(message("batch_size", batch_size, f"{len(kinds)} or more: one row of each kind at least"))
        self.groups = [indices[strata[indices] == kind] for kind in kinds]
        self.rows_of = quotas(counts, batch_size)

    def global_batches(self, generator: np.random.Generator) -> np.ndarray:
        """One epoch's batches over all ranks, ``(steps, batch_size * ranks)`` positions; each rank has its strata."""
        parts = len(self) * self.ranks
        columns = [
            self._drawn(group, parts * rows, generator).reshape(parts, rows)
            for group, rows in zip(self.groups, self.rows_of)
        ]
        # mixed within the batch: pieces of it that go through the encoder by themselves hold all strata as a rule
        mixed = generator.permuted(np.concatenate(columns, axis=1), axis=1)
        return mixed.reshape(len(self), self.rows)

    @staticmethod
    def _drawn(group: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """``count`` of a stratum's rows, all of them before any comes again."""
        rounds = -(-count // len(group))
        return np.concatenate([generator.permutation(group) for _ in range(rounds)])[:count]


def quotas(counts: Sequence[int] | np.ndarray, rows: int) -> list[int]:
    """Rows of each kind in a batch of ``rows``: by share, the largest remainders rounded up, one of each at least."""
    exact = rows * np.asarray(counts) / np.sum(counts)
    found = np.maximum(1, np.floor(exact).astype(int))
    while found.sum() != rows:
        excess = found.sum() > rows
        gap = np.where(found > 1, found - exact, -np.inf) if excess else exact - found
        found[int(np.argmax(gap))] += -1 if excess else 1
    return [int(n) for n in found]


def two_kinds(batch: Batch) -> Batch:
    """``batch`` with every other sample as a target: for trying out a contrasted method on any samples."""
    return replace(batch, label=batch.index.new_tensor(range(len(batch))) % 2)
