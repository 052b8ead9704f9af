"""What lies below a folder, and what its subfolders say: official parts, and classes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from counterpoint.parts import SPLITS

DIGEST_FILES = 1_000
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def walk(root: Path, wanted: Callable[[str], bool], unreadable: Callable[[str], None] | None = None) -> Iterator[str]:
    """Relative paths (with ``/``) of files below ``root``, each folder once, in no particular order.

    Links are followed (a loop once); hidden files and folders are not. Streamed: memory does not grow with the number
    of files in a folder.

    Args:
        root: the folder.
        wanted: whether a file is, by its name.
        unreadable: told the relative path (with a ``/`` at its end) of each folder below that may not be looked at.

    Raises:
        OSError: ``root`` itself cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = os.scandir(root / folder)
        except OSError:
            if not folder:
                raise
            if unreadable is not None:
                unreadable(folder)
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not wanted(entry.name):
                    if _is_folder(entry):
                        folders.append(f"{folder}{entry.name}/")
                elif not _is_folder(entry):
                    yield f"{folder}{entry.name}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a place that may not be looked at
        return False


def ends(name: str, suffixes: frozenset[str]) -> bool:
    """Whether a file's name ends in one of ``suffixes``, whatever the case of its letters."""
    return os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 — 100,000 Path objects take seconds


def parts(paths: Sequence[str]) -> np.ndarray | None:
    """``(N,)`` number of each file's split where the folders at the top name splits, else None."""
    tops = [path.partition("/")[0].lower() if "/" in path else "" for path in paths]
    found = {_SPLIT_FOLDERS.get(top) for top in set(tops)}
    if "train" not in found or None in found:
        return None
    return np.array([SPLITS.index(_SPLIT_FOLDERS[top]) for top in tops], dtype=np.int64)


def classes(paths: Sequence[str], below: bool) -> tuple[np.ndarray, list[str]] | tuple[None, None]:
    """Labels ``(N,)`` (-1: in no folder) and class names, where the files lie in two folders or more.

    Args:
        paths: relative, with ``/``.
        below: the folders at the top name splits, so that the classes are in those below.
    """
    folders = _classes(paths, below)
    names = sorted({folder for folder in folders if folder is not None})
    if len(names) < 2:
        return None, None
    number = {name: index for index, name in enumerate(names)}
    return np.array([-1 if folder is None else number[folder] for folder in folders], dtype=np.int64), names


def only(paths: Sequence[str], below: bool) -> str | None:
    """The one folder that would be a class, were there another; None where there are none or several."""
    names = {folder for folder in _classes(paths, below) if folder is not None}
    return names.pop() if len(names) == 1 else None


def _classes(paths: Sequence[str], below: bool) -> list[str | None]:
    """The folder that each file's class is called after, None for a file in no folder."""
    depth = 1 if below else 0
    return [path.split("/", depth + 2)[depth] if path.count("/") > depth else None for path in paths]


def fingerprints(root: Path, paths: Sequence[str]) -> Iterator[bytes]:
    """Of each file, what changes with it: a hash of the bytes of up to 1,000 spread evenly over all, else the size.

    In a set of more files than that, a file changed without changing its length may go unnoticed.
    """
    whole = set(np.linspace(0, len(paths) - 1, min(len(paths), DIGEST_FILES)).astype(int).tolist())
    for number, path in enumerate(paths):
        yield _fingerprint(root / path, number in whole)


def _fingerprint(path: Path, whole: bool) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes()).digest() if whole else str(path.stat().st_size).encode()
    except OSError:
        return b"unreadable"
