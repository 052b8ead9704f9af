"""Tables from files: delimited text of any layout, and Parquet. Columns are chosen before anything is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from counterpoint.errors import DataError, message
from counterpoint_graphrec.data.columns import Columns, choose, unobvious
from counterpoint_graphrec.data.sniff import Layout, sniff

_arrow: Any = pyarrow  # its readers carry no types
USUAL_DELIMITER = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".inter": "\t", ".item": "\t"}
SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".parquet"})


@dataclass
class Table:
    """Columns of a file.

    Attributes:
        columns: which is what.
        data: Arrow table with them.
        line: row -> where it stands in the file.
        notes: what was guessed and left out.
    """

    columns: Columns
    data: Any
    line: Callable[[int], str]
    notes: list[str] = field(default_factory=list)

    def get(self, kind: str) -> Any:
        """The column of a kind, or None where there is none."""
        name = getattr(self.columns, kind)
        return None if name is None else self.data[name]


def suffix(place: Path) -> str:
    """Ending of a file's name in lower case, without ``.gz``."""
    return Path(place.stem if place.suffix.lower() == ".gz" else place.name).suffix.lower()


def existing(source: str, argument: str = "source") -> Path:
    """The file ``source``.

    Raises:
        DataError: there is none, or a folder.
    """
    place = Path(source).expanduser()
    if place.is_dir():
        inside = ", ".join(sorted(p.name for p in place.iterdir() if suffix(p) in USUAL_DELIMITER)[:3])
        todo = f"Name one of its files: {inside}." if inside else ""
        raise DataError(message(argument, f"the folder {source!r}", "a file", todo))
    if not place.is_file():
        raise DataError(message(argument, f"no file {source!r}", "a .csv, .tsv, .txt or .parquet file"))
    return place


def read(place: Path, asked: dict[str, str | None], needed: Sequence[str], delimiter: str | None = None) -> Table:
    """The columns of a table that are asked for, or guessed.

    Args:
        place: an existing file.
        asked: kind -> name of the column, "" for none, None for a guess.
        needed: kinds without which there is an error.
        delimiter: of a text file with a header and without quotes; None: found out.

    Raises:
        DataError: a column is missing, or the file cannot be read.
    """
    if suffix(place) == ".parquet":
        return _parquet(place, asked, needed)
    named = [name for name in asked.values() if name]
    least = 0 if "user" in needed else 1  # columns of items cannot be named by the user, so a header must be known
    layout = sniff(place, named, USUAL_DELIMITER.get(suffix(place), ","), delimiter, least)
    if not layout.first:
        raise DataError(message("source", f"no row in {place.name}, only a header", "at least one row"))
    columns = _columns(layout, asked, place, needed)
    table = _text(place, layout, columns)
    if delimiter is None:
        table.notes[:0] = _guessed(layout, columns, asked, place)
    return table


def _columns(layout: Layout, asked: dict[str, str | None], place: Path, needed: Sequence[str]) -> Columns:
    if len(layout.names) < len(needed):
        found = f"one column in {place.name}: {layout.names[0]!r}"
        raise DataError(message("source", found, "columns between commas, tabs, semicolons, bars or spaces"))
    if not layout.headless:
        return choose(layout.names, asked, place.name, needed)
    kinds = _places(layout) if "user" in needed else {"item": "1", "title": "2"}
    free = {kind: name for kind, name in kinds.items() if asked.get(kind) is None and name not in asked.values()}
    free = {kind: name for kind, name in free.items() if name in layout.names}
    return choose(layout.names, {**asked, **free}, place.name, needed)


def _places(layout: Layout) -> dict[str, str | None]:
    """What the columns of a file without a header are: user, item, then rating and time by their size."""
    kinds: dict[str, str | None] = {"user": "1", "item": "2"}
    for name, value in zip(layout.names[2:4], layout.first[2:4]):
        try:
            kind = "time" if float(value) > 1e6 else "rating"
        except ValueError:
            continue
        kinds.setdefault(kind, name)
    return kinds


def _guessed(layout: Layout, columns: Columns, asked: dict[str, str | None], place: Path) -> list[str]:
    notes = []
    guessed = [] if layout.delimiter == USUAL_DELIMITER.get(suffix(place)) else [f"delimiter {layout.shown}"]
    guessed += [] if layout.encoding == "utf-8" else [f"encoding {layout.encoding}"]
    if guessed:
        verb = "were" if len(guessed) > 1 else "was"
        notes.append(f"{place.name}: {' and '.join(guessed)} {verb} guessed.")
    if layout.headless:
        notes.append(f"{place.name} has no header; columns by their place: {', '.join(unobvious(columns, {}))}.")
    elif told := unobvious(columns, asked):
        notes.append(f"{place.name}: columns were guessed: {', '.join(told)}.")
    return notes


def _text(place: Path, layout: Layout, columns: Columns) -> Table:
    """Read a text file: ids as text, the rest as Arrow finds it, then as text where that fails."""
    bad: list[int] = []
    broken: list[str] = []

    def skip(row: Any) -> str:
        bad.append(row.number)
        broken[:] = broken or [f"{row.actual_columns} fields instead of {row.expected_columns}"]
        return "skip"

    texts = [columns.user, columns.item, columns.title, columns.group, columns.part]
    types = {name: _arrow.string() for name in texts if name}
    encoding = layout.encoding
    while True:
        bad.clear()
        try:
            data = _csv(place, layout, columns.names(), types, encoding, skip)
            break
        except (_arrow.ArrowException, OSError, UnicodeError, EOFError) as error:
            if encoding == "utf-8" and "UTF8" in str(error):
                encoding = "latin-1"
            elif len(types) < len(columns.names()):  # a value in the middle is no number: read them all as text
                types = dict.fromkeys(columns.names(), _arrow.string())
            else:
                raise DataError(message("source", f"{place.name}: {error}", "a table that can be read")) from None
    table = Table(columns, data, _lines(place, layout.header, bad))
    if encoding != layout.encoding:
        table.notes.append(f"{place.name} is not UTF-8 throughout; it was read as latin-1.")
    _count(table, place, layout, bad, broken)
    return table


def _csv(place: Path, layout: Layout, names: list[str], types: dict[str, Any], encoding: str, skip: Any) -> Any:
    options = _arrow.csv
    return options.read_csv(
        place,
        read_options=options.ReadOptions(
            use_threads=False,  # so that the number of a broken row is known
            column_names=layout.names,
            skip_rows=layout.header,
            encoding="utf8" if encoding == "utf-8" else encoding,
        ),
        parse_options=options.ParseOptions(
            delimiter=layout.delimiter,
            quote_char='"' if layout.quoted else False,
            invalid_row_handler=skip,
            ignore_empty_lines=False,
        ),
        convert_options=options.ConvertOptions(include_columns=names, column_types=types),
    )


def _lines(place: Path, header: int, bad: Sequence[int]) -> Callable[[int], str]:
    """Row -> ``"file, line 17"``; broken lines were left out of the rows, so they are counted in."""

    def line(row: int) -> str:
        number = row + 1 + header
        while (further := row + 1 + header + bisect_right(bad, number)) > number:
            number = further
        return f"line {number:,} of {place.name}"

    return line


def _count(table: Table, place: Path, layout: Layout, bad: Sequence[int], broken: Sequence[str]) -> None:
    """Tell of the lines with too many or too few fields; when they are the most, the layout is wrong."""
    rows = table.data.num_rows
    if not bad:
        return
    where = f"line {bad[0]:,} of {place.name}: {broken[0]}"
    if len(bad) > rows:
        found = f"{len(bad):,} of {len(bad) + rows:,} lines with another number of fields ({where})"
        allowed = f"rows of {len(layout.names)} fields with {layout.shown} between them"
        raise DataError(message("source", found, allowed))
    table.notes.append(f"Left out: {len(bad):,} lines with too many or too few fields (first: {where}).")


def _parquet(place: Path, asked: dict[str, str | None], needed: Sequence[str]) -> Table:
    try:
        names = _arrow.parquet.read_schema(place).names
        columns = choose(names, asked, place.name, needed)
        data = _arrow.parquet.read_table(place, columns=columns.names())
    except (_arrow.ArrowException, OSError) as error:
        raise DataError(message("source", f"{place.name}: {error}", "a Parquet file that can be read")) from None
    return Table(columns, data, lambda row: f"row {row + 1:,} of {place.name}")
