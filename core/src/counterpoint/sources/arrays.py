"""Numpy archives: plain arrays only, and files packed end to end in one of them."""

from __future__ import annotations

import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from counterpoint.errors import DataError, message


def read(place: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` archive.

    Raises:
        DataError: it is damaged, or holds pickled objects.
    """
    try:
        with np.load(place, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        allowed = "an .npz archive of plain arrays (pickled objects are refused)"
        raise DataError(message("source", f"{place.name}: {error}", allowed)) from None


def unpacked(packed: np.ndarray, offset: np.ndarray, key: str) -> list[bytes]:
    """Files that are packed end to end: file ``i`` is ``packed[offset[i] : offset[i + 1]]``.

    Args:
        packed: ``(bytes,)`` uint8.
        offset: ``(N + 1,)`` whole numbers that do not fall.
        key: what an error calls the offset.

    Raises:
        DataError: ``offset`` does not cut ``packed``.
    """
    if offset.ndim != 1 or len(offset) < 2 or offset[0] < 0 or (np.diff(offset) < 0).any() or offset[-1] > len(packed):
        raise DataError(message(key, f"{offset.shape}", f"N + 1 rising cuts between 0 and {len(packed)}"))
    return [packed[a:b].tobytes() for a, b in pairwise(offset.tolist())]
