"""MovieLens-100k: fetched once, by pip, out of the wheel of a package that carries it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute
from rich.console import Console

from counterpoint.errors import DataError, message, nearest
from counterpoint.files import atomic
from counterpoint.parts import data_home
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
SECONDS = 120.0
_LARGEST = 1 << 24


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
            raise DataError(message("source", repr(source), f"{NAME!r}", nearest(source, [NAME]).strip()))
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


def fetch(folder: Path, seconds: float = SECONDS) -> None:
    """Fetch the files into ``folder``: each whole and checked, or not at all.

    Args:
        folder: where they go; it is made.
        seconds: give up after this long.

    Raises:
        DataError: the folder cannot be written, there is no pip or no connection, or the content is another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as place:
            console = Console(stderr=True)
            with console.status(f"Fetching {NAME} (2 MB, once) with pip ..."):
                wheel = _download(Path(place), seconds)
            contents = {name: _member(wheel, name, digest) for name, digest in FILES.items()}
            for name, content in contents.items():
                with atomic(folder / name) as temporary:
                    temporary.write_bytes(content)
        console.print(f"Fetched {NAME} into {folder}.", highlight=False, soft_wrap=True)
    except OSError as error:
        todo = "Set COUNTERPOINT_DATA to a folder that can be written."
        raise DataError(message("source", f"{folder}: {error.strerror or error}", "room for 2 MB", todo)) from None


def _download(place: Path, seconds: float) -> Path:
    """The wheel, from pip's own index, cache or mirror."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--timeout", "15", "--retries", "1"]
    only = ["--no-deps", "--only-binary", ":all:", "--dest", str(place)]
    command = [sys.executable, "-m", "pip", "download", *quiet, *only, PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise _failed(f"no end after {seconds:g} s") from None
    wheel = next(iter(place.glob("*.whl")), None)
    if done.returncode or wheel is None:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        raise _failed(told[-1].strip() if told else f"exit code {done.returncode}")
    return wheel


def _failed(reason: str) -> DataError:
    todo = (
        f"It needs a connection once. Or fetch it elsewhere (pip download --no-deps {PACKAGE}) and put the files "
        f"{' and '.join(FILES)} of its folder {FOLDER} into {data_home() / NAME}; or use a table of your own."
    )
    return DataError(message("source", f"{NAME} is not here, and pip says: {reason}", f"{PACKAGE} from pip", todo))


def _member(wheel: Path, name: str, digest: str) -> bytes:
    """One file of the wheel, if it is what it should be."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{FOLDER}/{name}") as file:
            content = file.read(_LARGEST)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _failed(f"{wheel.name} is damaged ({error})") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(message("source", f"{name} in {wheel.name} with other content", f"SHA-256 {digest}"))
    return content
