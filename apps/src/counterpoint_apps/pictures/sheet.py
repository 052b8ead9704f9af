"""Tiles of a contact sheet: pictures of a source, picture files, words."""

from __future__ import annotations

from pathlib import Path

from counterpoint.errors import DataError
from counterpoint_apps.pictures.sources import Source
from counterpoint_vision.data.files import ImageFiles
from counterpoint_vision.tasks import Tile
from counterpoint_vision.tasks.sheet import SIDE


def tile(source: Source, key: str, score: float | None = None, caption: str = "") -> Tile:
    """A tile of a picture, or a blank one where it is gone by now; without a ``caption`` its key is written below."""
    try:
        return Tile(source.image(key, 2 * SIDE), caption or key, score)
    except DataError:
        return Tile.missing(f"{key} (gone)", score)


def tile_of_file(path: str) -> Tile:
    """A tile of a picture file, or a blank one where it is gone by now."""
    try:
        return Tile.of(ImageFiles(Path(), [path], None, None, max_side=2 * SIDE), 0)
    except DataError:
        return Tile.missing(f"{path} (gone)")
