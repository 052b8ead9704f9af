"""Rows of a table as a `Log`, and several logs as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS
from counterpoint_graphrec.data.files import Table
from counterpoint_graphrec.data.ids import Texts, numbered
from counterpoint_graphrec.data.log import Log
from counterpoint_graphrec.data.numbers import floats, seconds
from counterpoint_graphrec.data.titles import own_descriptions

_arrow: Any = pyarrow  # its functions carry no types
_PARTS = {**{split: number for number, split in enumerate(SPLITS)}, "valid": 1, "validation": 1}


def logged(table: Table, where: str, asked: dict[str, str | None]) -> Log:
    """The rows of a table.

    Args:
        table: with columns of users and items.
        where: what errors call it.
        asked: kind -> column that the user named; one that was only guessed is let go where it cannot be read.

    Raises:
        DataError: there is no row, a column's type does not fit, or a split has another name.
    """
    if not table.data.num_rows:
        raise DataError(message("source", f"no row in {where}, only columns", "at least one interaction"))
    (user, users), (item, items) = _column(table, "user", where, numbered), _column(table, "item", where, numbered)
    log = Log(user, item, users, items, line=table.line, notes=table.notes)
    log.rating = _values(table, "rating", where, asked)
    log.time = _values(table, "time", where, asked)
    log.part = _parts(table, where)
    own_descriptions(log, table)
    return log


def _column(table: Table, kind: str, where: str, read: Any) -> Any:
    try:
        return read(table.get(kind))
    except _arrow.ArrowException as error:
        column = f"column {getattr(table.columns, kind)!r} of {where}, {table.get(kind).type}"
        allowed = "text or whole numbers" if kind in ("user", "item") else "numbers" + " or dates" * (kind == "time")
        raise DataError(message(kind, f"{column} ({error})", allowed)) from None


def _values(table: Table, kind: str, where: str, asked: dict[str, str | None]) -> np.ndarray | None:
    """Ratings or times; None where there are none, or where most of a column that was guessed cannot be read."""
    if table.get(kind) is None:
        return None
    values: np.ndarray = _column(table, kind, where, seconds if kind == "time" else floats)
    unread = int(np.isnan(values).sum())
    if 2 * unread > len(values) and not asked.get(kind):
        name = getattr(table.columns, kind)
        forms = " (numbers can, and dates such as 2020-01-31 12:00:00)" if kind == "time" else ""
        told = f"{unread:,} of its {len(values):,} values cannot be read as {kind}{forms}"
        table.notes.append(f"Column {name!r} of {where} is not used: {told}.")
        return None
    return values


def _parts(table: Table, where: str) -> np.ndarray | None:
    """The fixed split of the column ``split``, or None."""
    if table.get("part") is None:
        return None
    codes, names = _column(table, "part", where, numbered)
    strange = next((name for name in names if name and name.lower() not in _PARTS), None)
    if strange is not None or (codes < 0).any():
        found = f"{strange or ''!r} in column {table.columns.part!r} of {where}"
        raise DataError(message("split", found, ", ".join(SPLITS)))
    parts: np.ndarray = np.array([_PARTS.get(name.lower(), 0) for name in names], dtype=np.int8)[codes]
    return parts


def joined(logs: Sequence[Log], parts: Sequence[int]) -> Log:
    """Logs of several files as one with a fixed split: each log's rows are in its part.

    Raises:
        DataError: a file has ratings or times and another has none.
    """
    user, users = _renumbered([log.user for log in logs], [log.users for log in logs])
    item, items = _renumbered([log.item for log in logs], [log.items for log in logs])
    out = Log(user, item, users, items, notes=[note for log in logs for note in log.notes])
    for kind in ("rating", "time"):
        columns = [getattr(log, kind) for log in logs]
        there = [column for column in columns if column is not None]
        if there and len(there) < len(columns):
            raise DataError(message(kind, "a column in one file and none in another", "in all of them or in none"))
        setattr(out, kind, np.concatenate(there) if there else None)
    out.part = np.repeat(np.array(parts, dtype=np.int8), [len(log) for log in logs])
    starts = np.cumsum([0, *map(len, logs)])

    def line(row: int) -> str:
        which = int(np.searchsorted(starts, row, side="right")) - 1
        return logs[which].line(row - int(starts[which]))

    out.line = line
    for kind in ("titles", "groups"):
        setattr(out, kind, _gathered(items, logs, kind))
    return out


def _renumbered(codes: Sequence[np.ndarray], texts: Sequence[Texts]) -> tuple[np.ndarray, Texts]:
    places, names = numbered(_arrow.concat_arrays([one.values for one in texts]))
    cuts = np.cumsum([len(one) for one in texts])[:-1]
    pieces = [np.append(place, np.int32(-1))[code] for place, code in zip(np.split(places, cuts), codes)]
    return np.concatenate(pieces), names


def _gathered(items: Texts, logs: Sequence[Log], kind: str) -> Texts | None:
    """For each item the first text that a log has of it."""
    out: Texts | None = None
    for log in logs:
        own: Texts | None = getattr(log, kind)
        if own is not None:
            there = own.take(log.items.numbers_of(items))
            out = there if out is None else out.or_else(there)
    return out
