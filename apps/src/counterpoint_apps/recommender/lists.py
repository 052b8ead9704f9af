"""Lists of items in files: what is in stock, what must not be shown."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from counterpoint.errors import DataError, message, nearest
from counterpoint_graphrec.data.columns import guess
from counterpoint_graphrec.tasks import Filters

DELIMITERS = {".csv": ",", ".tsv": "\t"}
YES, NO = {"true", "t", "yes", "y"}, {"false", "f", "no", "n", "", "nan", "none", "null"}


def chosen(parsed: argparse.Namespace) -> Filters:
    """The filters of a command line."""
    only = None if parsed.only is None else item_ids(parsed.only, "--only")
    without = () if parsed.without is None else item_ids(parsed.without, "--without")
    return Filters(parsed.seen, tuple(parsed.group), only, without, parsed.min_users)


def item_ids(asked: str, option: str) -> list[str]:
    """Ids in ``FILE`` or ``FILE:COLUMN``, each once, in the file's order.

    Args:
        asked: a table (``.csv``, ``.tsv``, ``.parquet``) with a column of item ids and, where ``COLUMN`` is named, only
            the rows in which it is true or above 0; or any other file with one id a line.
        option: for the messages.

    Raises:
        DataError: no such file or column, or a value of ``COLUMN`` that is neither true nor false.
    """
    path, column = Path(asked), ""
    if not path.exists() and ":" in asked:
        head, _, column = asked.rpartition(":")
        path = Path(head)
    if not path.is_file():
        raise DataError(message(option, f"{asked}: there is no such file", "a file of item ids, or FILE:COLUMN"))
    if path.suffix not in (*DELIMITERS, ".parquet"):
        return list(dict.fromkeys(_lines(path, column, option)))
    table = _table(path, option)
    item = guess(table.column_names, "item") or table.column_names[0]
    ids = table[item].cast(pa.string()).to_pylist()
    if column:
        if column not in table.column_names:
            found = message(option, f"no column {column!r} in {path}", "one of its columns")
            raise DataError(f"{found}{nearest(column, table.column_names)}")
        wanted = table[column].to_pylist()
        ids = [
            one for row, (one, value) in enumerate(zip(ids, wanted), 2) if _true(value, f"{path}, row {row}", column)
        ]
    return list(dict.fromkeys(one.strip() for one in ids if one))


def _lines(path: Path, column: str, option: str) -> Iterator[str]:
    if column:
        raise DataError(message(option, f"{path}:{column}", "a column of a .csv, .tsv or .parquet table"))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(message(option, f"{path}: {error}", "a text file (UTF-8) with one id a line")) from None
    return (line.strip() for line in text.splitlines() if line.strip())


def _table(path: Path, option: str) -> Any:
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        parse = pyarrow.csv.ParseOptions(delimiter=DELIMITERS[path.suffix])
        names = pyarrow.csv.open_csv(path, parse_options=parse).schema.names
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=texts)
    except (OSError, pa.ArrowException) as error:
        raise DataError(message(option, f"{path}: {error}", "a CSV, TSV or Parquet table with a header")) from None


def _true(value: Any, where: str, column: str) -> bool:
    text = str(value).strip().casefold()
    if text in YES or text in NO:
        return text in YES
    try:
        return float(text) > 0
    except ValueError:
        raise DataError(message(column, f"{value!r} in {where}", "true, false, yes, no, or a number")) from None
