"""Data that packages carry: members of a wheel, fetched by pip, checked, without installing or running anything."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from counterpoint.errors import DataError, message
from counterpoint.files import atomic

SECONDS = 120.0
_LARGEST = 1 << 24


@dataclass(frozen=True)
class Wheel:
    """What is wanted of a package.

    Attributes:
        package: name and version, as in ``"recbole==1.2.1"``.
        members: path inside the wheel -> SHA-256 of its content (at most 16 MiB).
    """

    package: str
    members: Mapping[str, str]


def fetch(name: str, wheels: Sequence[Wheel], folder: Path, todo: str, seconds: float = SECONDS) -> list[bytes]:
    """The members of ``wheels``, in their order.

    Args:
        name: what messages call the data, such as ``"movielens-100k (2 MB)"``.
        wheels: pip downloads each from its own index, cache or mirror.
        folder: where the data will be kept; it is made, and nothing is left in it.
        todo: what an error advises where there is no connection.
        seconds: give up after this long.

    Raises:
        DataError: the folder cannot be written, there is no pip or no connection, or the content is another.
    """
    packages = [wheel.package for wheel in wheels]
    try:
        with _writable(folder), tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as place:
            with Console(stderr=True).status(f"Fetching {name}, once, with pip ..."):
                _download(packages, Path(place), seconds)
            return [content for wheel in wheels for content in _members(Path(place), wheel)]
    except _Missing as error:
        found = f"{name} is not here, and pip says: {error}"
        raise DataError(message("source", found, f"{' and '.join(packages)} from pip", todo)) from None


def keep(name: str, files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into ``folder``, each whole or not at all, and tell where the data are now.

    Raises:
        DataError: the folder cannot be written.
    """
    with _writable(folder):
        for file, content in files.items():
            with atomic(folder / file) as temporary:
                temporary.write_bytes(content)
    Console(stderr=True).print(f"Fetched {name} into {folder}.", highlight=False, soft_wrap=True)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        todo = "Set COUNTERPOINT_DATA to a folder that can be written."
        raise DataError(
            message("source", f"{folder}: {error.strerror or error}", "a folder with room that can be written", todo)
        ) from None


class _Missing(Exception):
    """No wheel, or a damaged one, and why."""


def _download(packages: list[str], place: Path, seconds: float) -> None:
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--timeout", "15", "--retries", "1"]
    only = ["--no-deps", "--only-binary", ":all:", "--dest", str(place)]
    command = [sys.executable, "-m", "pip", "download", *quiet, *only, *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise _Missing(f"no end after {seconds:g} s") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        raise _Missing(told[-1].strip() if told else f"exit code {done.returncode}")


def _members(place: Path, wheel: Wheel) -> list[bytes]:
    """Those of one wheel, if they are what they should be."""
    stem = wheel.package.split("==")[0].replace("-", "_")
    found = next((path for path in place.glob("*.whl") if path.name.lower().startswith(f"{stem}-")), None)
    if found is None:
        raise _Missing(f"nothing about a wheel of {wheel.package}")
    contents = []
    for member, digest in wheel.members.items():
        try:
            with zipfile.ZipFile(found) as archive, archive.open(member) as file:
                content = file.read(_LARGEST)
        except (zipfile.BadZipFile, KeyError) as error:
            raise _Missing(f"{found.name} is damaged ({error})") from None
        if hashlib.sha256(content).hexdigest() != digest:
            found_name = f"{Path(member).name} in {found.name} with other content"
            raise DataError(message("source", found_name, f"SHA-256 {digest}"))
        contents.append(content)
    return contents
