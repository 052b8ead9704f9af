"""What a page asks: searches by an upload or by a picture of the index, and pages of what they found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint_apps.pictures.answers import Hit
from counterpoint_apps.pictures.encoder import PictureEncoder
from counterpoint_apps.pictures.index import PictureIndex
from counterpoint_apps.pictures.sources import Source

MOST = 480  # hits of one search that can be paged through
PER_PAGE = 24

EncoderT = TypeVar("EncoderT", bound=PictureEncoder)


@dataclass(frozen=True, slots=True)
class Found:
    """A search's hits, for one visitor.

    Attributes:
        title: what was searched for, in words.
        key: the picture of the index that was searched for, or "".
        picture: whether a picture was searched for, of the index or not.
        hits: the nearest first.
        page: which page is shown, from 0.
        least: least score that is shown.
    """

    title: str = ""
    key: str = ""
    picture: bool = False
    hits: list[Hit] = field(default_factory=list)
    page: int = 0
    least: float = -1.0

    @property
    def count(self) -> int:
        """How many hits reach the least score."""
        return sum(hit.score is None or hit.score >= self.least for hit in self.hits)

    @property
    def pages(self) -> int:
        """How many pages they fill."""
        return max(1, -(-self.count // PER_PAGE))

    @property
    def first(self) -> int:
        """Number of this page's first hit, from 0."""
        return self.page * PER_PAGE

    @property
    def shown(self) -> list[Hit]:
        """The hits of this page."""
        return self.hits[: self.count][self.first : self.first + PER_PAGE]


class Searches(Generic[EncoderT]):
    """Searches in one index.

    Args:
        index: to search in.
        open_source: opens the source of its pictures, which only those need who look at them.
        encoder: that made it.
    """

    def __init__(self, index: PictureIndex, open_source: Callable[[], Source], encoder: EncoderT) -> None:
        self.index, self.encoder = index, encoder
        self._open_source = open_source

    @cached_property
    def source(self) -> Source:
        """The source of the pictures, opened when it is first asked for."""
        return self._open_source()

    def near(self, vector: np.ndarray, title: str, key: str = "", picture: bool = True) -> Found:
        """What is near to a ``(D,)`` vector; the rest says what that is, as in `Found`."""
        return Found(title, key, picture, self.hits(vector, MOST))

    def hits(self, vector: np.ndarray, k: int, exact: bool | None = None) -> list[Hit]:
        """The ``k`` nearest to a ``(D,)`` vector; ``exact`` as `Store.search` has it."""
        near = self.index.store.search(vector, k, exact)
        captions = self.index.store.captions_of(near.keys)
        return [Hit(key, score, captions.get(key, "")) for key, score in zip(near.keys, near.scores.tolist())]

    def of_file(self, file: Path) -> np.ndarray:
        """``(D,)`` vector of a picture file.

        Raises:
            DataError: it is no picture, or one that unfolds to too many pixels; in plain words.
        """
        found = self.encoder.embed(self.encoder.files(file.parent, [file.name]))
        if found.damaged:
            raise DataError(
                f"This file cannot be searched for: {found.damaged[0].reason}. Choose a picture (JPEG, PNG, …)."
            )
        vector: np.ndarray = found.features[0].numpy()
        return vector

    def of_key(self, key: str) -> np.ndarray:
        """``(D,)`` vector of a picture of the index.

        Raises:
            DataError: the index has no such picture.
        """
        vectors = self.index.store.vectors_of([key])
        if key not in vectors:
            raise DataError(message("picture", repr(key), "one of the index", "Perhaps it was removed meanwhile."))
        return vectors[key]

    def upload(self, file: Path) -> Found:
        """Neighbours of an uploaded file; raises as `of_file`."""
        return self.near(self.of_file(file), "your picture")

    def like(self, key: str) -> Found:
        """Neighbours of a picture of the index, itself first; raises as `of_key`."""
        return self.near(self.of_key(key), key, key)
