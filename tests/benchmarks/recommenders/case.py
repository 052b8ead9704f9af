"""What a framework must be able to do to be compared, and how its epochs are timed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH, DIM, LAYERS, RATE = 2048, 64, 3, 1e-3
DECAY = 1e-4
CONTRAST: dict[str, dict[str, float]] = {
    "XSimGCL": {"weight": 0.2, "eps": 0.2, "temperature": 0.15},
    "SimGCL": {"weight": 0.2, "eps": 0.1, "temperature": 0.2},
    "SGL": {"weight": 0.1, "drop": 0.1, "temperature": 0.2},
}
"""Settings that every framework is given: those of the papers' repository where it names one."""


@dataclass(frozen=True, slots=True)
class Split:
    """Pairs ``(n, 2)`` of (user, item) numbers, the same for every framework."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    n_users: int
    n_items: int

    def save(self, path: Path) -> Path:
        """Write it for the processes to read."""
        np.savez(path, **{name: getattr(self, name) for name in self.__slots__})
        return path

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read what `save` wrote."""
        with np.load(path) as held:
            return cls(held["train"], held["val"], held["test"], int(held["n_users"]), int(held["n_items"]))

    @property
    def steps(self) -> int:
        """Steps of an epoch, the last one partial."""
        return -(-len(self.train) // BATCH)


class Clock:
    """Seconds of an epoch that is cut short: what comes before its first batch, and what a step takes.

    A whole epoch is exact (``before + steps * step``); of a part, the first batch's sampling counts as set-up only.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """An epoch begins."""
        self._marks, self.steps = [_now()], 0

    def batch(self) -> None:
        """A batch is there, and a step with it begins."""
        if not self.steps:
            self._marks.append(_now())
        self.steps += 1

    def end(self) -> None:
        """The last step is done."""
        self._marks.append(_now())

    def limit(self, batches: Iterable[Any], steps: int) -> Iterator[Any]:
        """The first ``steps`` of ``batches``, timed."""
        for batch in batches:
            self.batch()
            yield batch
            if self.steps == steps:
                break
        self.end()

    def seconds(self, steps: int) -> dict[str, float]:
        """Wall and processor seconds of an epoch of ``steps`` steps."""
        began, first, last = self._marks
        return {
            name: first[i] - began[i] + steps * (last[i] - first[i]) / self.steps
            for i, name in enumerate(("wall", "cpu"))
        }


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Case(ABC):
    """One framework that trains one model on a split."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        self.model, self.split, self.seed = model, split, seed

    def contrast(self, settings: dict[str, float]) -> None:
        """Other settings of the contrast than `CONTRAST`'s, for what is trained from now on."""
        CONTRAST[self.model] |= settings

    @abstractmethod
    def epoch(self, steps: int) -> dict[str, float]:
        """Train ``steps`` steps of an epoch; seconds that the whole epoch takes, without ranking."""

    @abstractmethod
    def train(self, epochs: int) -> None:
        """Train from the beginning for ``epochs`` epochs."""

    @abstractmethod
    def rank(self) -> float:
        """Recall@20 of the test users by the framework's own full ranking, from embeddings on."""

    @abstractmethod
    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Final embeddings of users and of items, rows by the split's numbers; of nobody it knows: zeros."""


def scattered(rows: np.ndarray, numbers: np.ndarray, total: int) -> np.ndarray:
    """``rows`` put at ``numbers`` among ``total`` rows of zeros."""
    found = np.zeros((total, rows.shape[1]), np.float32)
    found[numbers] = rows
    return found
