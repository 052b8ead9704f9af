"""Interactions in RecBole's atomic files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from counterpoint.errors import DataError, message
from counterpoint_graphrec.data.files import existing, read
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.data.log import Log
from counterpoint_graphrec.data.table import logged
from counterpoint_graphrec.data.titles import with_descriptions


class RecBoleFile(Interactions):
    """An ``.inter`` file: tabs, and a header of ``name:type``. Titles and categories come from the ``.item`` beside it.

    See `Interactions` for the options; a column may be named with or without its type.

    Args:
        source: the file.
        options: those of `Interactions`.
    """

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a file ending in .inter."""
        place = Path(source).expanduser()
        return place.suffix.lower() == ".inter" and place.is_file()

    def _read(self, source: str, asked: dict[str, str | None]) -> Log:
        place = existing(source)
        if place.suffix.lower() != ".inter":
            raise DataError(message("source", repr(source), "a file ending in .inter"))
        table = read(place, asked, ("user", "item"), delimiter="\t")
        if not any(":" in name for name in table.columns.names()):
            found = f"the header {', '.join(table.columns.names())} in {place.name}"
            raise DataError(message("source", found, "names with their types, such as user_id:token"))
        log = logged(table, place.name)
        beside = place.with_suffix(".item")
        if not beside.is_file():
            return log
        described = with_descriptions(log, read(beside, {}, ("item",), delimiter="\t"), beside.name, words=True)
        return replace(described)
