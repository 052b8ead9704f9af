"""Interactions in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS
from counterpoint_graphrec.data.files import SUFFIXES, Table, existing, read, suffix
from counterpoint_graphrec.data.ids import numbered
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.data.log import Log
from counterpoint_graphrec.data.numbers import floats, seconds
from counterpoint_graphrec.data.titles import first_of, first_rows, texts


class InteractionTable(Interactions):
    """A CSV, TSV, text or Parquet file with a column of users and one of items (``.gz`` of text too).

    Delimiter (comma, tab, semicolon, bar, space), encoding (UTF-8, UTF-16 with its mark, else latin-1) and header are
    found out. A column called title or name names the items, one called category or genre groups them, and one called
    ``split`` (train, val, test) is the fixed split. See `Interactions` for the options.
    """

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a file ending in .csv, .tsv, .txt or .parquet, or in one of those and .gz."""
        place = Path(source).expanduser()
        return suffix(place) in SUFFIXES and place.is_file()

    def _read(self, source: str, asked: dict[str, str | None]) -> Log:
        place = existing(source)
        if suffix(place) not in SUFFIXES:
            raise DataError(message("source", repr(source), f"a file ending in {', '.join(sorted(SUFFIXES))}"))
        return logged(read(place, asked, ("user", "item")), place.name)


def logged(table: Table, where: str) -> Log:
    """The rows of a table.

    Raises:
        DataError: there is none, or a split of another name.
    """
    if not table.data.num_rows:
        raise DataError(message("source", f"no row in {where}, only columns", "at least one interaction"))
    user, users = numbered(table.get("user"))
    item, items = numbered(table.get("item"))
    rating, time = table.get("rating"), table.get("time")
    log = Log(user, item, users, items, line=table.line, notes=table.notes)
    log.rating = None if rating is None else floats(rating)
    log.time = None if time is None else seconds(time)
    log.part = _parts(table, where)
    rows = first_rows(item, len(items))
    log.titles, log.groups = texts(table.get("title"), rows), first_of(texts(table.get("group"), rows), words=False)
    return log


def _parts(table: Table, where: str) -> np.ndarray | None:
    column: Any = table.get("part")
    if column is None:
        return None
    codes, names = numbered(column)
    known = {**{split: number for number, split in enumerate(SPLITS)}, "valid": 1, "validation": 1}
    strange = next((name for name in names if name and name.lower() not in known), None)
    if strange is not None or (codes < 0).any():
        found = f"{strange or ''!r} in the column {table.columns.part!r} of {where}"
        raise DataError(message("split", found, ", ".join(SPLITS)))
    return np.array([known.get(name.lower(), 0) for name in names], dtype=np.int8)[codes]
