"""What the page asks: searches by an upload or by a picture of the index, and pages of what they found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from counterpoint.errors import DataError, message
from counterpoint_apps.image_search.encoder import PictureEncoder
from counterpoint_apps.image_search.index import PictureIndex

MOST = 480  # hits of one search that can be paged through
PER_PAGE = 24


@dataclass(frozen=True, slots=True)
class Found:
    """A search's hits, for one visitor.

    Attributes:
        title: what was searched for.
        key: the picture of the index that was searched for, or "" for an upload.
        keys, scores: the nearest first.
        page: which page is shown, from 0.
        least: least score that is shown.
    """

    title: str = ""
    key: str = ""
    keys: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    page: int = 0
    least: float = 0.0

    @property
    def count(self) -> int:
        """How many hits reach the least score."""
        return sum(score >= self.least for score in self.scores)

    @property
    def pages(self) -> int:
        """How many pages they fill."""
        return max(1, -(-self.count // PER_PAGE))

    @property
    def shown(self) -> list[tuple[str, float]]:
        """The hits of this page."""
        start = self.page * PER_PAGE
        return list(zip(self.keys, self.scores))[: self.count][start : start + PER_PAGE]


class Searches:
    """Searches in one index.

    Args:
        index: to search in.
        encoder: that made it.
    """

    def __init__(self, index: PictureIndex, encoder: PictureEncoder) -> None:
        self.index, self.encoder = index, encoder

    def upload(self, file: Path) -> Found:
        """Neighbours of an uploaded file.

        Raises:
            DataError: it is no picture, or one that unfolds to too many pixels; in plain words.
        """
        found = self.encoder.embed(self.encoder.files(file.parent, [file.name]))
        if found.damaged:
            raise DataError(
                f"This file cannot be searched for: {found.damaged[0].reason}. Choose a picture (JPEG, PNG, …)."
            )
        hits = self.index.store.search(found.features[0].numpy(), MOST)
        return Found("your picture", "", hits.keys, hits.scores.tolist())

    def like(self, key: str) -> Found:
        """Neighbours of a picture of the index; itself first.

        Raises:
            DataError: the index has no such picture.
        """
        vectors = self.index.store.vectors_of([key])
        if key not in vectors:
            raise DataError(message("picture", repr(key), "one of the index", "Perhaps it was removed meanwhile."))
        hits = self.index.store.search(vectors[key], MOST)
        return Found(key, key, hits.keys, hits.scores.tolist())
