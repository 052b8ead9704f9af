"""Tables from files: columns as lists, whatever the format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from counterpoint.errors import DataError, message

_arrow: Any = pyarrow  # its readers carry no types
Columns = dict[str, list[Any]]
_DELIMITERS = ",\t;|"


def read(place: Path) -> tuple[Columns, list[str]]:
    """Columns of a table, all of one length, and notes on the rows that were left out.

    Args:
        place: a file that ends in one of `SUFFIXES`.

    Raises:
        DataError: there is none, or it cannot be read, or it has no row.
    """
    if place.suffix.lower() not in SUFFIXES or not place.is_file():
        kind = f"the folder {place.name!r}" if place.is_dir() else f"no table {str(place)!r}"
        raise DataError(message("source", kind, f"a file ending in {', '.join(SUFFIXES)}"))
    try:
        columns, notes = SUFFIXES[place.suffix.lower()](place)
    except (_arrow.ArrowException, OSError, UnicodeError) as error:
        raise DataError(message("source", f"{place.name}: {error}", "a table that can be read")) from None
    if not any(columns.values()):
        raise DataError(message("source", f"no row in {place.name}", "a table with at least one picture"))
    return columns, notes


def _parquet(place: Path) -> tuple[Columns, list[str]]:
    return _arrow.parquet.read_table(place, use_threads=False).to_pydict(), []


def _text(place: Path) -> tuple[Columns, list[str]]:
    """Delimiter from the header, texts in quotes over several lines, UTF-8 or else Windows' Western European."""
    csv = _arrow.csv
    left_out: list[str] = []

    def skip(row: Any) -> str:
        left_out.append(row.text)
        return "skip"

    with place.open("rb") as file:
        raw = file.read()
    encoding = _encoding(raw)
    header = raw[: raw.find(b"\n") if b"\n" in raw else len(raw)].decode(encoding, "replace")
    delimiter = "\t" if place.suffix.lower() == ".tsv" else max(_DELIMITERS, key=header.count)
    options = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip)
    convert = csv.ConvertOptions(strings_can_be_null=False)
    # Arrow's threads can outlive the interpreter and abort it (apache/arrow 34314); a table needs none of them.
    table = csv.read_csv(place, csv.ReadOptions(encoding=encoding, use_threads=False), options, convert)
    notes = [f"Read as {encoding}: {place.name}, which is no UTF-8."] if encoding == "cp1252" else []
    if left_out:
        told = left_out[0][:60]
        notes.append(f"Left out: {len(left_out):,} rows of {place.name} with too many or too few fields ({told!r}).")
    return table.to_pydict(), notes


def _encoding(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _json_lines(place: Path) -> tuple[Columns, list[str]]:
    """One object a line; a key that some lack is None there."""
    rows, broken = [], []
    with place.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                broken.append(number)
    told = f"Left out: {len(broken):,} lines of {place.name} that are no JSON object (the first: {broken[:1]})."
    return joined(rows), [told] if broken else []


def joined(rows: list[dict[str, Any]]) -> Columns:
    """Rows as columns, None where a row lacks one."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): [row.get(name) for row in rows] for name in names}


SUFFIXES: dict[str, Callable[[Path], tuple[Columns, list[str]]]] = {
    ".csv": _text,
    ".tsv": _text,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
"""Ending of a file's name -> its reader."""
