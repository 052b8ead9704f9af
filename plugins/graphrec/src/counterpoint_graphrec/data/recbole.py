"""Interactions in RecBole's atomic files."""

from __future__ import annotations

from pathlib import Path

from counterpoint.errors import DataError, message
from counterpoint_graphrec.data.files import existing, read
from counterpoint_graphrec.data.interactions import Interactions
from counterpoint_graphrec.data.log import Log
from counterpoint_graphrec.data.logged import joined, logged
from counterpoint_graphrec.data.titles import with_descriptions

_BENCHMARK = ("train", "valid", "test")


class RecBoleFile(Interactions):
    """An ``.inter`` file: tabs, and a header of ``name:type``. Titles and categories come from the ``.item`` beside it.

    Of ``set.train.inter`` the files ``set.valid.inter`` and ``set.test.inter`` beside it are the fixed split. A column
    may be named with or without its type. See `Interactions` for the options.
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
        name, _, part = place.stem.rpartition(".")
        if part == "train":
            files = {number: place.with_name(f"{name}.{kind}.inter") for number, kind in enumerate(_BENCHMARK)}
            files = {number: file for number, file in files.items() if file.is_file()}
            log = joined([_log(file, asked) for file in files.values()], list(files))
            beside = place.with_name(f"{name}.item")
        else:
            log, beside = _log(place, asked), place.with_suffix(".item")
        if not beside.is_file():
            return log
        return with_descriptions(log, read(beside, {}, ("item",), delimiter="\t"), beside.name, words=True)


def _log(place: Path, asked: dict[str, str | None]) -> Log:
    table = read(place, asked, ("user", "item"), delimiter="\t")
    names = table.columns.names()
    if not all(":" in name for name in names):
        found = f"the header {', '.join(names)} in {place.name}"
        raise DataError(message("source", found, "names with their types, such as user_id:token"))
    return logged(table, place.name, asked)
