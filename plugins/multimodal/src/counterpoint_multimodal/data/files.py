"""What tables and folders share: each picture is a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from counterpoint.sources.folders import fingerprints
from counterpoint_multimodal.data.pairs import Pairs, Records

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""Endings of files that are taken for pictures."""


class PairFiles(Pairs):
    """Pictures in files, by paths relative to a folder; a path is the sample's name."""

    def _open(self, root: Path, records: Records, max_side: int | None, lower: bool) -> None:
        self.root = root
        self._fill(records, max_side, lower)

    def _raw(self, index: int) -> bytes:
        return (self.root / self._names[index]).read_bytes()

    def _fingerprints(self) -> Iterator[bytes]:
        return fingerprints(self.root, self._names)
