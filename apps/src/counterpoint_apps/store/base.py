"""What a search app asks of a store of vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

EXACT_BELOW = 50_000
"""Items up to which every search compares with all of them (100,000 x 128 dimensions: 0.06 s on one core)."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found.

    Attributes:
        keys: the nearest first.
        scores: ``(k,)`` float32 cosine similarities, falling.
        exact: whether everything was compared; otherwise the approximate index chose what was.
    """

    keys: list[str]
    scores: np.ndarray
    exact: bool


class Store(ABC):
    """Items with a unique key, a vector of length 1, a few whole numbers (facts) and a caption each, on disk.

    Every call that changes something is all or nothing: killed in the middle, the store is as before it.

    Attributes:
        dim: width ``D`` of the vectors.
        facts: names of the whole numbers that are kept with each item.
    """

    dim: int
    facts: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def put(
        self,
        keys: Sequence[str],
        vectors: np.ndarray,
        facts: Mapping[str, Sequence[int]],
        captions: Sequence[str] | None = None,
    ) -> None:
        """Add items, or replace those whose keys are there already.

        Args:
            keys: ``N`` different keys.
            vectors: ``(N, D)`` float32, normalised here.
            facts: ``N`` whole numbers (64 bits) under each name of `facts`.
            captions: ``N`` texts; None: "" for each.

        Raises:
            ShapeError: sizes that do not fit, or a vector with NaN or infinity.
            DataError: the disk is full, or the store is damaged.
        """

    @abstractmethod
    def remove(self, keys: Sequence[str]) -> None:
        """Remove items; keys that are not there do no harm."""

    @abstractmethod
    def search(self, vector: np.ndarray, k: int, exact: bool | None = None) -> Hits:
        """The ``k`` most similar items (fewer where there are fewer) to a ``(D,)`` vector.

        Args:
            vector: of any length but 0.
            k: at least 1.
            exact: compare with everything; None: where there is no approximate index.
        """

    @abstractmethod
    def facts_of(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        """Facts by key, of those keys that are there."""

    @abstractmethod
    def captions_of(self, keys: Sequence[str]) -> dict[str, str]:
        """Captions by key, of those keys that are there."""

    @abstractmethod
    def vectors_of(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """``(D,)`` vectors by key, of those keys that are there."""

    @abstractmethod
    def read(self, vectors: bool = False) -> Iterator[tuple[list[str], dict[str, np.ndarray], np.ndarray | None]]:
        """All items in pieces: keys, facts by name ``(n,)``, and with ``vectors`` their ``(n, D)`` vectors."""

    @abstractmethod
    def tidy(self, exact_below: int = EXACT_BELOW) -> None:
        """Compact what many small changes left, and build or drop the approximate index as the size asks."""

    @property
    @abstractmethod
    def approximate(self) -> bool:
        """Whether searches go through an approximate index unless told otherwise."""
