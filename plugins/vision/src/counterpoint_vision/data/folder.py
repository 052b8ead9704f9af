"""A folder of images, with or without classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS
from counterpoint_vision.data.decode import SUFFIXES
from counterpoint_vision.data.files import ImageFiles

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class ImageFolder(ImageFiles):
    """Every image below a folder, in the order of their paths.

    Subfolders are classes if the images lie in two or more of them; images beside them have no label. The folders
    ``train``, ``val``/``valid``/``validation`` and ``test`` are the official splits when all images lie in them; a part
    without a folder is then drawn from ``train``. Links are followed (a loop once); hidden files and folders are not.

    Args:
        source: the folder.
        max_side: images whose shorter side is longer are read smaller, by a whole factor; for training give twice the
            side of the views. None: full size.
        labelled: False leaves the subfolders' names alone, so that nothing is labelled.

    Raises:
        DataError: no such folder, or no image in it.
    """

    def __init__(self, source: str, max_side: int | None = None, labelled: bool = True) -> None:
        root = Path(source).expanduser()
        if not root.is_dir():
            raise DataError(message("source", f"no folder {source!r}", "a folder that holds images"))
        try:
            paths = sorted(scan(root))
        except OSError as error:
            raise DataError(message("source", f"{source!r}: {error.strerror}", "a folder that can be read")) from None
        if not paths:
            looked = ", ".join(sorted(SUFFIXES))
            raise DataError(message("source", f"no image in {source!r} or below", f"files ending in {looked}"))
        self._parts = _official(paths)
        labels, classes = _classes(paths, below=self._parts is not None) if labelled else (None, None)
        super().__init__(root, paths, labels, classes, max_side)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a folder."""
        return Path(source).expanduser().is_dir()

    def splits(self) -> dict[str, np.ndarray]:
        """The official folders where there are such; else drawn from each file's path."""
        drawn = super().splits()
        if self._parts is None:
            return drawn
        part = self._parts.copy()
        for number, split in enumerate(SPLITS):
            if not (self._parts == number).any():
                part[drawn[split][self._parts[drawn[split]] == 0]] = number
        return {split: np.flatnonzero(part == number) for number, split in enumerate(SPLITS)}


def scan(root: Path, unreadable: Callable[[str], None] | None = None) -> Iterator[str]:
    """Relative paths (with ``/``) of the images below ``root``, each folder once, in no particular order.

    Streamed: memory does not grow with the number of files in a folder.

    Args:
        root: the folder.
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
                if not _is_image(entry.name):
                    if _is_folder(entry):
                        folders.append(f"{folder}{entry.name}/")
                elif not _is_folder(entry):
                    yield f"{folder}{entry.name}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a place that may not be looked at
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 — 100,000 Path objects take seconds


def _official(paths: list[str]) -> np.ndarray | None:
    """``(N,)`` number of each image's split where the folders at the top name splits, else None."""
    tops = [path.partition("/")[0].lower() if "/" in path else "" for path in paths]
    parts = {_SPLIT_FOLDERS.get(top) for top in set(tops)}
    if "train" not in parts or None in parts:
        return None
    return np.array([SPLITS.index(_SPLIT_FOLDERS[top]) for top in tops], dtype=np.int64)


def _classes(paths: list[str], below: bool) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels and class names from the first folder, or from the second where the first names the split."""
    depth = 1 if below else 0
    folders = [path.split("/", depth + 2)[depth] if path.count("/") > depth else None for path in paths]
    classes = sorted({folder for folder in folders if folder is not None})
    if len(classes) < 2:
        return None, None
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([-1 if folder is None else number[folder] for folder in folders], dtype=np.int64)
    return labels, classes
