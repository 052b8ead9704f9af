"""Picture files that are named at the shell, single ones and whole folders: found, and embedded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint_apps.pictures.encoder import PictureEncoder
from counterpoint_vision.data.folder import scan

CHUNK = 256


def embedded(
    encoder: PictureEncoder, images: Sequence[Path], damaged: list[str]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Pieces of paths with their vectors ``(n, D)``, of files as they are and of folders as the pictures below them.

    Args:
        encoder: of pictures.
        images: files and folders.
        damaged: what cannot be read is told here.

    Raises:
        DataError: one is not there, or a folder cannot be read.
    """
    files = expanded(images)
    while chunk := list(map(str, islice(files, CHUNK))):
        found = encoder.embed(encoder.files(Path(), chunk))
        damaged += [f"{one.name}: {one.reason}" for one in found.damaged]
        if len(found.index):
            yield [chunk[place] for place in found.index.tolist()], found.features.numpy()


def present(images: Sequence[Path]) -> None:
    """Make sure that all of them are there.

    Raises:
        DataError: some are not.
    """
    absent = [os.fspath(image) for image in images if not image.exists()]
    if absent:
        raise DataError(message("images", ", ".join(absent), "picture files, or folders of them, that exist"))


def expanded(images: Iterable[Path]) -> Iterator[Path]:
    """Files as they are, folders as the pictures below them.

    Raises:
        DataError: a folder cannot be read.
    """
    for image in images:
        if image.is_dir():
            try:
                yield from (image / name for name in sorted(scan(image)))
            except OSError as error:
                raise DataError(message("images", f"{image}: {error.strerror}", "a folder that can be read")) from None
        else:
            yield image
