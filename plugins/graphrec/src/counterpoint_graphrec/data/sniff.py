"""How a text file is laid out: encoding, delimiter, header, found from its first lines."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoint.errors import DataError, message
from counterpoint_graphrec.data.columns import are_names

HEAD = 1 << 16
"""Bytes that are looked at."""
DELIMITERS = (",", "\t", ";", "|", " ")
_SHOWN = {"\t": "tab", " ": "space"}


@dataclass(frozen=True)
class Layout:
    """Of a delimited text file.

    Attributes:
        encoding: as Python names it.
        delimiter: one letter.
        quoted: whether a field may stand in quotes.
        names: columns; ``"1"``, ``"2"``, ... where there is no header.
        header: lines above the first row, the header included.
        first: fields of the first row, empty where there is none.
    """

    encoding: str
    delimiter: str
    quoted: bool
    names: list[str]
    header: int
    first: list[str]

    @property
    def headless(self) -> bool:
        """Whether the columns have places instead of names."""
        return self.names == [str(number + 1) for number in range(len(self.names))]

    @property
    def shown(self) -> str:
        """The delimiter in words."""
        return _SHOWN.get(self.delimiter, repr(self.delimiter))


def sniff(place: Path, asked: Sequence[str], usual: str, delimiter: str | None = None, least: int = 0) -> Layout:
    """The layout of ``place``, which may be gzipped.

    Args:
        place: the file.
        asked: columns that the user named.
        usual: delimiter that the file's ending promises; it wins among equals.
        delimiter: take this one, a header, and no quotes, without looking.
        least: usual names of columns without which the first line is no header.

    Raises:
        DataError: the file is empty, binary, or cannot be opened.
    """
    text, encoding = _decoded(_head(place), place)
    lines = text.splitlines()
    blank = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    lines = [line for line in lines if line.strip()][:100]
    if not lines:
        raise DataError(message("source", f"nothing in {str(place)!r}", "a header and rows below it"))
    separator = delimiter or _delimiter(lines, usual)
    if delimiter is None:
        rows = [*csv.reader(lines[:2], delimiter=separator), []]
    else:
        rows = [*csv.reader(lines[:2], delimiter=separator, quoting=csv.QUOTE_NONE), []]
    if delimiter is not None or _is_header(rows[0], asked, least):
        return Layout(encoding, separator, delimiter is None, _distinct(rows[0]), blank + 1, rows[1])
    return Layout(encoding, separator, True, [str(number + 1) for number in range(len(rows[0]))], blank, rows[0])


def _head(place: Path) -> bytes:
    try:
        if place.suffix.lower() == ".gz":
            with gzip.open(place) as packed:
                return packed.read(HEAD)
        with place.open("rb") as file:
            return file.read(HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(message("source", f"{place.name}: {error}", "a file that can be read")) from None


def _decoded(raw: bytes, place: Path) -> tuple[str, str]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw[: len(raw) // 2 * 2].decode("utf-16", "replace"), "utf-16"
    if b"\0" in raw:
        todo = "Save a spreadsheet as CSV first."
        raise DataError(message("source", f"binary content in {place.name}", "a text file or Parquet", todo))
    whole = raw if len(raw) < HEAD else raw[: raw.rfind(b"\n") + 1] or raw
    try:
        return whole.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        return whole.decode("latin-1"), "latin-1"


def _delimiter(lines: Sequence[str], usual: str) -> str:
    """The one that cuts most lines into the same number of fields, two or more; then into most fields."""

    def score(delimiter: str) -> tuple[float, int, bool]:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        fields, share = counts.most_common(1)[0]
        return (
            (round(share / len(lines), 1), fields, delimiter == usual) if fields > 1 else (0.0, 0, delimiter == usual)
        )

    return max(DELIMITERS, key=score)


def _is_header(fields: Sequence[str], asked: Sequence[str], least: int) -> bool:
    """Names and no values, unless the user asked for columns by their place."""
    if any(field.strip() in asked for field in fields):
        return True
    return are_names(fields, least) and not (asked and all(name.isdigit() for name in asked))


def _distinct(names: Sequence[str]) -> list[str]:
    """Stripped, and numbered where they repeat or are empty."""
    seen: Counter[str] = Counter()
    out = []
    for number, name in enumerate(names):
        name = name.strip() or f"column {number + 1}"
        seen[name] += 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
