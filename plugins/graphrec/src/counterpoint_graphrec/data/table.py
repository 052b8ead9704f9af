"""Interactions in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS
from counterpoint_graphrec.data.files import SUFFIXES, existing, read, suffix
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.data.log import Log
from counterpoint_graphrec.data.logged import joined, logged


class InteractionTable(Interactions):
    """A CSV, TSV, text or Parquet file with a column of users and one of items (``.gz`` of text too).

    Delimiter (comma, tab, semicolon, bar, space), encoding (UTF-8, UTF-16 with its mark, else latin-1) and header are
    found out. A column called title or name names the items, one called category or genre groups them, and one called
    ``split`` (train, val, test) is the fixed split.

    Args:
        source: the table.
        val: table of the val pairs, with the same columns: ``source`` is train then, and the split is fixed.
        test: table of the test pairs.
        options: those of `Interactions`.
    """

    def __init__(self, source: str, *, val: str | None = None, test: str | None = None, **options: Any) -> None:
        self._others = {"val": val, "test": test}
        super().__init__(source, **options)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a file ending in .csv, .tsv, .txt or .parquet, or in one of those and .gz."""
        place = Path(source).expanduser()
        return suffix(place) in SUFFIXES and place.is_file()

    def _read(self, source: str, asked: dict[str, str | None]) -> Log:
        sources = {"train": ("source", source)}
        sources |= {split: (split, other) for split, other in self._others.items() if other is not None}
        logs = [_log(other, argument, asked) for argument, other in sources.values()]
        return logs[0] if len(logs) == 1 else joined(logs, [SPLITS.index(split) for split in sources])


def _log(source: str, argument: str, asked: dict[str, str | None]) -> Log:
    place = existing(source, argument)
    if suffix(place) not in SUFFIXES:
        raise DataError(message(argument, repr(source), f"a file ending in {', '.join(sorted(SUFFIXES))}"))
    return logged(read(place, asked, ("user", "item")), place.name, asked)
