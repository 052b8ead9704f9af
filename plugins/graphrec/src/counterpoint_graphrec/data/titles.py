"""Titles and categories of items, from the interactions' own table or from one beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint_graphrec.data.files import Table, existing, read
from counterpoint_graphrec.data.ids import Texts, numbered
from counterpoint_graphrec.data.log import Log


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
        raise DataError(message("titles", f"columns {names} in {where}", "one called title, name or category"))
    codes, ids = numbered(table.get("item"))
    number = _numbers(log.items, ids)[codes]  # of the last id for -1, which is put right next
    number[codes < 0] = -1
    known, strange = number >= 0, len(ids) - int((_numbers(log.items, ids) >= 0).sum())
    if not known.any():
        raise DataError(
            message(
                "titles", f"no item of the data in {where}", f"ids such as {log.items[0]!r}", "Are the ids the same?"
            )
        )
    if strange:
        log.notes.append(f"{strange:,} items of {where} were touched by nobody; left out.")
    rows = first_rows(number, len(log.items))
    titles, groups = texts(table.get("title"), rows), first_of(texts(table.get("group"), rows), words)
    missing = int((rows < 0).sum())
    if missing:
        log.notes.append(f"{missing:,} of {len(rows):,} items are not in {where}; they go by their ids.")
    return replace(log, titles=titles or log.titles, groups=groups or log.groups)


def _numbers(items: Texts, ids: Texts) -> np.ndarray:
    """``(len(ids),)`` int64: number of each id among ``items``, -1 for none."""
    import pyarrow.compute

    found = pyarrow.compute.index_in(ids.values, value_set=items.values)
    return np.append(found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), -1)[: max(1, len(ids))]


def first_rows(numbers: np.ndarray, count: int) -> np.ndarray:
    """``(count,)`` int64: the first row in which each number occurs, -1 for none."""
    rows = np.full(count, -1, dtype=np.int64)
    backwards = np.flatnonzero(numbers >= 0)[::-1]
    rows[numbers[backwards]] = backwards  # what is written last stays
    return rows


def texts(column: Any, rows: np.ndarray) -> Texts | None:
    """The texts of a column at ``rows`` (-1: empty), or None where none has any."""
    if column is None:
        return None
    codes, values = numbered(_first_elements(column))
    if not len(values):
        return None
    found = values.take(np.append(codes, -1)[rows])
    return found if any(found) else None


def _first_elements(column: Any) -> Any:
    """A column of lists as the column of their first elements."""
    import pyarrow as pa

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pa.array([row[0] if row else None for row in column.to_pylist()])
    return column


def first_of(groups: Texts | None, words: bool) -> Texts | None:
    """Of several categories in a text the first."""
    import pyarrow.compute

    if groups is None:
        return None
    pattern = r"\s.*$" if words else r"\s*[|,;].*$"
    return Texts(pyarrow.compute.replace_substring_regex(groups.values, pattern, ""))
