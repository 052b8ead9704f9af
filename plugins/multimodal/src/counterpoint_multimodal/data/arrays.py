"""Pictures and texts in a numpy archive."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from counterpoint.errors import ConfigError, DataError, message, nearest
from counterpoint.parts import data_home
from counterpoint.sources import columns as labelling
from counterpoint.sources.arrays import read, unpacked
from counterpoint_multimodal.data import columns as choose
from counterpoint_multimodal.data.captions import clean
from counterpoint_multimodal.data.groups import connected, draw, shared_keys
from counterpoint_multimodal.data.memory import PairMemory, picture_hashes
from counterpoint_multimodal.data.pairs import Records

NAMES = ("emoji-styles", "fashion-products")
_PACKED = ("_jpeg", "_webp", "_png")
_PLAIN = ("images", "image")
_KEYS = ("codepoint", "id", "key", "name")
_ALIASES, _KEYWORDS = "short_names", "keywords"
"""Columns of further texts, between bars: each alias is a caption, and all keywords together are one."""
_JOINED = re.compile(r"_|(?<=\w)-(?=\w)")
Pictures = dict[str, "list[bytes] | np.ndarray"]


class PairArrays(PairMemory):
    """Pictures and texts of an ``.npz`` archive, in memory.

    Pictures are encoded files packed end to end, ``<style>_jpeg`` (or webp, png) with ``<style>_offset`` ``(N + 1,)``,
    or ``images`` uint8 ``(N, H, W, 3)``. Where there are several styles, each concept (a row) is there once a style.
    Texts are columns ``(N,)`` or ``(N, K)``, of which empty ones do not count. All columns ``(N,)`` are kept; one
    called ``split`` is the official one. Without it, concepts are split by a hash of their ``codepoint`` or ``id``,
    with all that share a text or a picture, and whatever the options. Pickled objects are refused.

    Args:
        source: the archive, or the name of a folder of ``<data home>/multimodal`` that has one: ``emoji-styles`` (1,641
            emoji in three styles) or ``fashion-products`` (6,000 photographs).
        caption: column of the texts, or several between commas; None: caption, text, title, name or their like.
        label: column of the classes; None: label, class, category or article_type where there is one; "" for none.
        texts: ``"all"`` adds, where the archive has them, what stands between bars in ``short_names``, each as a
            caption, and in ``keywords``, all as one.
        styles: those that are used, by name; None: all.
        unseen: ``"concept"``: val and test have concepts of their own, in all styles. ``"style"``: train has the other
            styles only and test what train shows, in the held style; val has concepts of its own, in the other styles,
            and these are left out of test.
        held_style: the style that ``unseen="style"`` keeps for test.
        flags: keep those whose category is Flags.
        max_side: pictures whose shorter side is longer are read smaller, by a whole factor. None: full size.
        lower: captions in small letters.

    Raises:
        DataError: no such archive, nothing in it that is known, or shapes that do not fit.
        ConfigError: a style that is not there.
    """

    def __init__(
        self,
        source: str,
        *,
        caption: str | None = None,
        label: str | None = None,
        texts: Literal["name", "all"] = "all",
        styles: Sequence[str] | None = None,
        unseen: Literal["concept", "style"] = "concept",
        held_style: str = "twemoji",
        flags: bool = False,
        max_side: int | None = None,
        lower: bool = False,
    ) -> None:
        place = self._place(source)
        archive = _Archive(read(place), place.name, caption)
        chosen = _styles(styles, archive.pictures)
        rows, parts = np.arange(archive.count), archive.parts()
        notes = []
        if not flags and "category" in archive.columns:
            rows = np.flatnonzero(archive.columns["category"] != "Flags")
            flagged = archive.count - len(rows)
            notes = [f"Left out: {flagged:,} flags (flags=True keeps them)."] if flagged else []
        picked = [(style, row) for style in chosen for row in rows.tolist()]
        if unseen == "style":
            picked, parts_picked = _by_style(picked, parts, chosen, held_style)
        else:
            parts_picked = parts[[row for _, row in picked]]
        records = archive.records(picked, texts == "all", label, many=len(archive.pictures) > 1)
        records.parts, records.notes = parts_picked, notes
        self._hold(archive.files(picked), records, max_side, lower)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is an ``.npz`` file, or the name of a set in the data home."""
        place = Path(source).expanduser()
        return source in NAMES or (place.suffix.lower() == ".npz" and place.is_file()) or _at_home(source) is not None

    def _place(self, source: str) -> Path:
        place = Path(source).expanduser()
        if place.suffix.lower() == ".npz" and place.is_file():
            return place
        found = _at_home(source)
        if found is not None:
            return found
        if source in NAMES:
            todo = "Set COUNTERPOINT_DATA to a folder that has it, or use 'emoji', which is fetched."
            raise DataError(
                message("source", f"no {data_home() / 'multimodal' / source}", f"{source} in the data home", todo)
            )
        todo = nearest(source, NAMES).strip()
        allowed = "an .npz file, or the name of a set in the data home"
        raise DataError(message("source", repr(source), allowed, todo))


def _at_home(source: str) -> Path | None:
    if not source or source != Path(source).name or source.startswith("."):
        return None
    return next(iter(sorted((data_home() / "multimodal" / source).glob("*.npz"))), None)


class _Archive:
    """The rows of an archive: pictures by style, texts, and facts."""

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
        drawn = draw(connected(keys), self.names)
        if "split" not in self.columns:
            return drawn
        parts = labelling.parts(self.columns["split"].tolist())
        for number in (1, 2):
            if not (parts == number).any():
                parts[(parts == 0) & (drawn == number)] = number
        return parts

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


def _styles(asked: Sequence[str] | None, pictures: Pictures) -> list[str]:
    if asked is None:
        return list(pictures)
    asked = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    for style in asked:
        if style not in pictures:
            known = ", ".join(pictures)
            raise ConfigError(message("styles", repr(style), known, nearest(style, pictures).strip()))
    if not asked:
        raise ConfigError(message("styles", "none", ", ".join(pictures)))
    return asked


def _by_style(
    picked: list[tuple[str, int]], parts: np.ndarray, styles: list[str], held: str
) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Those that ``unseen="style"`` uses, and the part of each."""
    if held not in styles or len(styles) < 2:
        raise ConfigError(message("held_style", repr(held), f"one of two styles or more: {', '.join(styles)}"))
    used = [(style, row) for style, row in picked if style != held or parts[row] != 1]
    return used, np.array([2 if style == held else int(parts[row] == 1) for style, row in used], dtype=np.int64)
