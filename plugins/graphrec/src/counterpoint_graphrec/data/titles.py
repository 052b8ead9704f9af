"""Titles and categories of items, from the interactions' own table or from one beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from counterpoint.errors import DataError, message
from counterpoint_graphrec.data.files import Table, existing, read
from counterpoint_graphrec.data.ids import Texts, numbered
from counterpoint_graphrec.data.log import Log

_arrow: Any = pyarrow  # its functions carry no types
ALIKE = 0.9
"""Share of rows that must agree with the first row of their item, for a column to describe items."""


def described(log: Log, source: str) -> Log:
    """``log`` with titles and categories from the table ``source``.

    Raises:
        DataError: no such file or column, or no item of the log is in it.
    """
    place = existing(source, "titles")
    return with_descriptions(log, read(place, {}, ("item",)), place.name)


def with_descriptions(log: Log, table: Table, where: str, words: bool = False) -> Log:
    """``log`` with what ``table`` tells of its items; the first row of an item counts.

    Args:
        log: the interactions.
        table: with a column of item ids and one of titles or categories.
        where: what notes and errors call the table.
        words: a category is the first word of its column (RecBole's lists); else what stands before a bar or comma.

    Raises:
        DataError: the table has neither titles nor categories, or none of the items.
    """
    if table.columns.title is None and table.columns.group is None:
        names = ", ".join(table.data.column_names)
        todo = "Name the columns of the file so."
        raise DataError(message("titles", f"only {names} in {where}", "a column title, name or category", todo))
    codes, ids = numbered(table.get("item"))
    place = log.items.numbers_of(ids)
    if not (place >= 0).any():
        allowed = f"ids such as {log.items[0]!r}"
        raise DataError(message("titles", f"no item of the data in {where}", allowed, "Are the ids the same?"))
    strange = int((place[np.unique(codes[codes >= 0])] < 0).sum())
    if strange:
        log.notes.append(f"Left out: {strange:,} items of {where}, which have no interaction here.")
    rows = _first_rows(np.append(place, -1)[codes], len(log.items))
    missing = int((rows < 0).sum())
    if missing:
        log.notes.append(f"Called by their ids: {missing:,} of {len(rows):,} items, which are not in {where}.")
    titles, groups = _texts(table.get("title"), rows), _first_of(_texts(table.get("group"), rows), words)
    return replace(log, titles=titles or log.titles, groups=groups or log.groups)


def own_descriptions(log: Log, table: Table) -> None:
    """Titles and categories from the interactions' own table; a column that differs within items tells none."""
    rows = _first_rows(log.item, len(log.items))
    sound = {}
    for kind in ("title", "group"):
        column = table.get(kind)
        if column is None:
            continue
        codes, values = numbered(_first_elements(column))
        known = log.item >= 0
        alike = codes[known] == codes[rows[log.item[known]]]
        if alike.sum() >= ALIKE * len(alike):
            sound[kind] = _picked(codes, values, rows)
        else:
            name = getattr(table.columns, kind)
            log.notes.append(f"Column {name!r} differs among the rows of one item, so it is not its {kind}; not used.")
    log.titles, log.groups = sound.get("title"), _first_of(sound.get("group"), words=False)


def _first_rows(numbers: np.ndarray, count: int) -> np.ndarray:
    """``(count,)`` int64: the first row in which each number occurs, -1 for none."""
    rows = np.full(count, -1, dtype=np.int64)
    backwards = np.flatnonzero(numbers >= 0)[::-1]
    rows[numbers[backwards]] = backwards  # what is written last stays
    return rows


def _texts(column: Any, rows: np.ndarray) -> Texts | None:
    """The texts of a column at ``rows`` (-1: empty), or None where none has any."""
    if column is None:
        return None
    return _picked(*numbered(_first_elements(column)), rows)


def _picked(codes: np.ndarray, values: Texts, rows: np.ndarray) -> Texts | None:
    found = values.take(np.append(codes, -1)[rows])
    return None if found.empty().all() else found


def _first_elements(column: Any) -> Any:
    """A column of lists as the column of their first elements."""
    if _arrow.types.is_list(column.type) or _arrow.types.is_large_list(column.type):
        return _arrow.array([row[0] if row else None for row in column.to_pylist()])
    return column


def _first_of(groups: Texts | None, words: bool) -> Texts | None:
    """Of several categories in a text the first."""
    if groups is None:
        return None
    pattern = r"\s.*$" if words else r"\s*[|,;].*$"
    return Texts(_arrow.compute.replace_substring_regex(groups.values, pattern, ""))
