"""Pictures and texts in a numpy archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from counterpoint.errors import ConfigError, DataError, message, nearest, unknown
from counterpoint.parts import data_home
from counterpoint.sources.arrays import read
from counterpoint_multimodal.data.archive import Archive, Pictures
from counterpoint_multimodal.data.memory import PairMemory

NAMES = ("emoji-styles", "fashion-products")


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
        caption: column of the texts, or several between commas; None: caption, text, title, name or their like; ""
            for none, and pictures alone.
        label: column of the classes; None: label, class, category or article_type where there is one; "" for none.
        texts: ``"all"`` adds, where the archive has them, what stands between bars in ``short_names``, each as a
            caption, and in ``keywords``, all as one.
        styles: those that are used, by name; None: all.
        unseen: ``"concept"``: val and test have concepts of their own, in all styles. ``"style"``: train has the other
            styles only and test what train shows, in the held style; val has concepts of its own, in the other styles,
            and these are left out of test.
        held_style: the style that ``unseen="style"`` keeps for test.
        flags: keep emoji whose category is Flags.
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
        archive = Archive(read(place), place.name, caption)
        further = texts == "all" and caption != ""
        chosen = _styles(styles, archive.pictures)
        rows, parts = np.arange(archive.count), archive.parts()
        notes = []
        if not flags and {"codepoint", "category"} <= set(archive.columns):
            rows = np.flatnonzero(archive.columns["category"] != "Flags")
            flagged = archive.count - len(rows)
            notes = [f"Left out: {flagged:,} flags (flags=True keeps them)."] if flagged else []
        picked = [(style, row) for style in chosen for row in rows.tolist()]
        if unseen == "style":
            picked, parts_picked = _by_style(picked, parts, chosen, held_style)
        else:
            parts_picked = parts[[row for _, row in picked]]
        records = archive.records(picked, further, label, many=len(archive.pictures) > 1)
        records.parts, records.notes, records.captioned = parts_picked, notes, caption != ""
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


def _styles(asked: Sequence[str] | None, pictures: Pictures) -> list[str]:
    if asked is None:
        return list(pictures)
    asked = [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
    for style in asked:
        if style not in pictures:
            raise ConfigError(unknown("styles", style, pictures))
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
