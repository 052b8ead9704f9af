"""What stands in an archive of pictures and texts: styles, captions and facts, row by row."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint.sources import columns as labelling
from counterpoint.sources.arrays import unpacked
from counterpoint_multimodal.data import columns as choose
from counterpoint_multimodal.data.captions import clean
from counterpoint_multimodal.data.groups import completed, connected, shared_keys
from counterpoint_multimodal.data.memory import picture_hashes
from counterpoint_multimodal.data.pairs import Records

_PACKED = ("_jpeg", "_webp", "_png")
_PLAIN = ("images", "image")
_KEYS = ("codepoint", "id", "key", "name")
_ALIASES, _KEYWORDS = "short_names", "keywords"
"""Columns of further texts, between bars: each alias is a caption, and all keywords together are one."""
_JOINED = re.compile(r"_|(?<=\w)-(?=\w)")
Pictures = dict[str, "list[bytes] | np.ndarray"]
"""Style -> encoded files, or pixels uint8 ``(N, 3, H, W)``; the style is "" where there is but one that has no name."""


class Archive:
    """The rows of an archive.

    Args:
        arrays: its arrays by name.
        where: what errors call it.
        caption: see `PairArrays`.

    Attributes:
        pictures: by style.
        count: number of rows.
        hashes: by style, of the pictures.
        columns: facts ``(count,)`` by name.
        captions: of each row.
        further: of each row, aliases and keywords.
        names: of each row, all different: codepoint, id, key or name where there is such a column, else the number.

    Raises:
        DataError: no pictures, no texts, or shapes that do not fit.
    """

    def __init__(self, arrays: dict[str, np.ndarray], where: str, caption: str | None) -> None:
        self.pictures = _pictures(arrays, where)
        self.count = len(next(iter(self.pictures.values())))
        wrong = next((style for style, found in self.pictures.items() if len(found) != self.count), None)
        if wrong is not None:
            raise DataError(message(wrong, f"{len(self.pictures[wrong])} pictures", f"{self.count}, as the others"))
        self.hashes = {style: picture_hashes(found) for style, found in self.pictures.items()}
        known = {key: array for key, array in arrays.items() if array.shape[:1] == (self.count,) and array.ndim < 3}
        self.columns = {key: array for key, array in known.items() if array.ndim == 1}
        writing = [key for key, array in known.items() if array.dtype.kind in "UT"]
        names = choose.several("caption", caption, choose.CAPTION, writing, where)
        values: dict[str, list[Any]] = {name: known[name].tolist() for name in names}
        self.captions = [[clean(text) for text in own] for own in choose.texts(values, names, self.count)]
        self.further = [
            [*map(clean, _JOINED.sub(" ", aliases).split("|")), clean(keywords.replace("|", ", "))]
            for aliases, keywords in zip(self._text(_ALIASES, names), self._text(_KEYWORDS, names))
        ]
        self.names = self._names()

    def _text(self, column: str, taken: list[str]) -> list[str]:
        """A column, or empty texts where there is none, or where it is the caption already."""
        known = column in self.columns and column not in taken
        return [str(value) for value in self.columns[column].tolist()] if known else [""] * self.count

    def _names(self) -> list[str]:
        for key in _KEYS:
            if key in self.columns:
                names = [str(value) for value in self.columns[key].tolist()]
                if all(names) and len(set(names)) == self.count:
                    return names
        return [f"{number:06d}" for number in range(self.count)]

    def parts(self) -> np.ndarray:
        """``(rows,)`` split, official or drawn; what is missing of an official one is drawn from train.

        From all texts and all styles, so that it is the same whichever are used.
        """
        keys = [
            shared_keys([*self.captions[row], *self.further[row]], *(found[row] for found in self.hashes.values()))
            for row in range(self.count)
        ]
        official = labelling.parts(self.columns["split"].tolist()) if "split" in self.columns else None
        return completed(official, connected(keys), self.names)

    def records(self, picked: list[tuple[str, int]], all_texts: bool, label: str | None, many: bool) -> Records:
        """What is told of the pictures ``picked``, each a style and a row."""
        rows = [row for _, row in picked]
        columns = {key: array[rows].tolist() for key, array in self.columns.items()}
        if many:
            columns["style"] = [style for style, _ in picked]
        classes = labelling.column("label", label, choose.LABEL, list(columns))
        return Records(
            names=[f"{style}/{self.names[row]}" if many else self.names[row] for style, row in picked],
            captions=[[*self.captions[row], *(self.further[row] if all_texts else [])] for row in rows],
            pictures=[self.hashes[style][row] for style, row in picked],
            labels=(None, None) if classes is None else labelling.classes(columns[classes]),
            columns=columns,
        )

    def files(self, picked: list[tuple[str, int]]) -> list[bytes] | np.ndarray:
        """The pictures themselves."""
        plain = self.pictures.get("")
        if isinstance(plain, np.ndarray):
            return plain[[row for _, row in picked]]
        return [self.pictures[style][row] for style, row in picked]


def _pictures(arrays: dict[str, np.ndarray], where: str) -> Pictures:
    """Style -> its pictures; "" for those that are not packed."""
    found: Pictures = {}
    for key, array in arrays.items():
        ending = next((ending for ending in _PACKED if key.endswith(ending)), None)
        offset = None if ending is None else f"{key.removesuffix(ending)}_offset"
        if ending is not None and offset in arrays:
            found[key.removesuffix(ending)] = unpacked(array, arrays[offset], offset)
    plain = next((key for key in _PLAIN if key in arrays), None)
    if found or plain is None:
        if not found:
            todo = "Name them images, or image_jpeg with image_offset."
            keys = ", ".join(sorted(arrays)) or "nothing"
            raise DataError(message("source", f"{where} with {keys}", "packed or plain uint8 pictures", todo))
        return found
    images = arrays[plain]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise DataError(message(plain, f"{images.dtype} {images.shape}", "uint8 (N, H, W, 3)"))
    return {"": np.moveaxis(images, -1, 1)}
