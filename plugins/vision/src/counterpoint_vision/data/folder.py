"""A folder of images, with or without classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS
from counterpoint.sources import folders
from counterpoint_vision.data import table
from counterpoint_vision.data.decode import SUFFIXES
from counterpoint_vision.data.files import ImageFiles

TARGETS = "targets.csv"


class ImageFolder(ImageFiles):
    """Every image below a folder, in the order of their paths.

    Subfolders are classes if the images lie in two or more of them; images beside them have no label. The folders
    ``train``, ``val``/``valid``/``validation`` and ``test`` are the official splits when all images lie in them; a part
    without a folder is then drawn from ``train``. Links are followed (a loop once); hidden files and folders are not.
    A table ``targets.csv`` in the folder, with a column of paths relative to it and one of numbers (see `ImageTable`),
    gives the targets for regression; an image that it leaves out has an unknown one.

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
        self._parts = folders.parts(paths)
        labels, classes = folders.classes(paths, below=self._parts is not None) if labelled else (None, None)
        only = folders.only(paths, below=self._parts is not None) if labelled and labels is None else None
        if only is not None:
            self.absent = {"labels": f"one class ({only!r}) only; two are needed"}
        targets, self.notes = _targets(root, paths)
        super().__init__(root, paths, labels, classes, max_side, targets)

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


def _targets(root: Path, paths: list[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """What ``targets.csv`` says of ``paths``, and a note where it names others."""
    if not (root / TARGETS).is_file():
        return None, ()
    rows = table.read(root / TARGETS)
    _, values = table.targets_in(rows, meant=True)
    if values is None:
        allowed = f"a column of numbers called {', '.join(table.TARGET_COLUMNS)}"
        raise DataError(message(TARGETS, f"columns {', '.join(rows.column_names)}", allowed))
    known = dict(zip(table.paths_in(rows), values.tolist()))
    strangers = len(known.keys() - set(paths))
    notes = (f"{TARGETS} names {strangers} files that are not here.",) if strangers else ()
    return torch.tensor([known.get(path, math.nan) for path in paths], dtype=torch.float64), notes


def scan(root: Path, unreadable: Callable[[str], None] | None = None) -> Iterator[str]:
    """Relative paths of the images below ``root`` (see `counterpoint.sources.folders.walk`).

    Args:
        root: the folder.
        unreadable: told the relative path (with a ``/`` at its end) of each folder below that may not be looked at.

    Raises:
        OSError: ``root`` itself cannot be read.
    """
    return folders.walk(root, lambda name: folders.ends(name, SUFFIXES), unreadable)
