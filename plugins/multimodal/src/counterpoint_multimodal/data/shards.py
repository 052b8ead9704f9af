"""WebDataset shards: pairs in tar archives, read where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint.sources import columns as labelling
from counterpoint.sources import folders
from counterpoint_multimodal.data import columns as choose
from counterpoint_multimodal.data.pairs import Pairs, Records
from counterpoint_multimodal.data.tables import joined
from counterpoint_multimodal.data.tars import Index, expanded, indexed


class PairShards(Pairs):
    """``.tar`` archives in which ``key.jpg`` (or png, webp ...) and ``key.txt`` or ``key.json`` are a pair.

    The archives are gone through once, when they are opened, for the place of each member; then pictures are read from
    there, by as many processes as there are, and nothing is unpacked. Captions are the lines of ``key.txt``, or a field
    of ``key.json``. Official parts are a field ``split``, or archives that are all called train, val and test
    (``train-000.tar``).

    Args:
        source: an archive, a folder of archives, or a pattern of names: ``pairs-{000..012}.tar``, ``{a,b}.tar``,
            ``pairs-*.tar``.
        image: ending of the pictures, such as ``"png"``; None: any that is known.
        caption: ``"txt"``, or a field of the JSON files, or several between commas; None: txt, caption, text, ...; ""
            for none, and pictures alone.
        label: a field of the JSON files, or ``"cls"``; None: label, class, category or cls where there is one; "" for
            none.
        max_side: pictures whose shorter side is longer are read smaller, by a whole factor. None: full size.
        lower: captions in small letters.

    Raises:
        DataError: no such archive, a compressed one, or no picture in it.
    """

    def __init__(
        self,
        source: str,
        *,
        image: str | None = None,
        caption: str | None = None,
        label: str | None = None,
        max_side: int | None = None,
        lower: bool = False,
    ) -> None:
        places = expanded(source)
        if not places:
            allowed = "a .tar file, a folder of them, or a pattern of names such as pairs-{000..012}.tar"
            raise DataError(message("source", f"no archive {source!r}", allowed))
        ending = None if image is None else image.lower().lstrip(".")
        self._index: Index = indexed(places, ending)
        if not self._index.names:
            found = f"{', '.join(self._index.endings) or 'nothing'} in {source!r}"
            raise DataError(message("source", found, f"pictures ending in {ending or 'jpg, png, webp, ...'}"))
        self._fill(_records(self._index, caption, label), max_side, lower)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` names at least one file that ends in ``.tar``."""
        return bool(expanded(source))

    def _raw(self, index: int) -> bytes:
        shard, offset, size = self._index.where[index].tolist()
        with self._index.shards[shard].open("rb") as file:
            file.seek(offset)
            raw: bytes = file.read(size)
        if len(raw) < size:
            raise ValueError(f"cut off after {len(raw):,} of {size:,} bytes")
        return raw

    def _fingerprints(self) -> Iterator[bytes]:
        """The size and, of up to 1,000 spread evenly over all, the bytes."""
        whole = set(np.linspace(0, len(self) - 1, min(len(self), folders.DIGEST_FILES)).astype(int).tolist())
        for index in range(len(self)):
            size = str(self._index.where[index, 2]).encode()
            try:
                yield hashlib.blake2b(self._raw(index)).digest() if index in whole else size
            except (OSError, ValueError):
                yield b"unreadable"


def _records(index: Index, caption: str | None, label: str | None) -> Records:
    rows: list[dict[str, Any]] = index.facts
    columns, count = joined(rows), len(rows)
    if not columns and caption != "":
        raise DataError(message("source", "pictures without a .txt or .json beside them", "key.jpg and key.txt"))
    where = index.shards[0].name
    written = choose.several("caption", caption, ("txt", *choose.CAPTION), list(columns), where)
    classes = labelling.column("label", label, choose.LABEL, [name for name in columns if name not in written])
    split = labelling.column("split", None, ("split",), list(columns))
    return Records(
        names=index.names,
        captions=choose.texts(columns, written, count),
        labels=(None, None) if classes is None else labelling.classes(columns[classes]),
        parts=folders.parts(index.tops) if split is None else labelling.parts(columns[split]),
        columns=columns,
        notes=index.notes,
        captioned=caption != "",
    )
