"""MovieLens-100k: fetched once, by pip, out of the wheel of a package that carries it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute

from counterpoint.errors import DataError, message, unknown
from counterpoint.parts import data_home
from counterpoint.sources import wheels
from counterpoint_graphrec.data.files import read
from counterpoint_graphrec.data.ids import Texts
from counterpoint_graphrec.data.log import Log
from counterpoint_graphrec.data.recbole import RecBoleFile
from counterpoint_graphrec.data.titles import with_descriptions

NAME = "movielens-100k"
PACKAGE, FOLDER = "recbole==1.2.1", "recbole/dataset_example/ml-100k"
FILES = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
"""Member of the wheel -> SHA-256 of its content."""


class MovieLens(RecBoleFile):
    """100,000 ratings that 943 people gave 1,682 films in 1997 and 1998, with titles and genres.

    By default every rating is an interaction. The files (2 MB) are in the package recbole, from which pip fetches them
    into ``<data home>/movielens-100k`` when they are first asked for; nothing of that package is installed or run. The
    data are GroupLens Research's: for research, without redistribution (F. M. Harper and J. A. Konstan, 2015, "The
    MovieLens Datasets: History and Context", ACM TiiS 5(4)). See `Interactions` for the options.
    """

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is ``"movielens-100k"``."""
        return source == NAME

    def _read(self, source: str, asked: dict[str, str | None]) -> Log:
        if source != NAME:
            raise DataError(unknown("source", source, [NAME]))
        folder = data_home() / NAME
        if not all((folder / name).is_file() for name in FILES):
            fetch(folder)
        for name, digest in FILES.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                found = f"{folder / name} with other content"
                raise DataError(message("source", found, f"SHA-256 {digest}", "Delete it, and it is fetched again."))
        return _dated(super()._read(str(folder / "ml-100k.inter"), asked), folder / "ml-100k.item")


def _dated(log: Log, items: Path) -> Log:
    """With the year behind each title, since films are made again."""
    table = read(items, {"group": "release_year"}, ("item",), delimiter="\t")
    years = with_descriptions(replace(log, notes=[]), table, items.name).groups
    if log.titles is None or years is None:
        return log
    compute: Any = pyarrow.compute
    dated = compute.binary_join_element_wise(log.titles.values, " (", years.values, ")", "")
    return replace(log, titles=Texts(compute.if_else(compute.equal(years.values, ""), log.titles.values, dated)))


def fetch(folder: Path, seconds: float = wheels.SECONDS) -> None:
    """Fetch the files into ``folder``: each whole and checked, or not at all.

    Args:
        folder: where they go; it is made.
        seconds: give up after this long.

    Raises:
        DataError: the folder cannot be written, there is no pip or no connection, or the content is another.
    """
    wheel = wheels.Wheel(PACKAGE, {f"{FOLDER}/{name}": digest for name, digest in FILES.items()})
    todo = (
        f"It needs a connection once. Or fetch it elsewhere (pip download --no-deps {PACKAGE}) and put the files "
        f"{' and '.join(FILES)} of its folder {FOLDER} into {data_home() / NAME}; or use a table of your own."
    )
    contents = wheels.fetch(NAME, [wheel], folder, todo, seconds)
    wheels.keep(NAME, dict(zip(FILES, contents)), folder)
