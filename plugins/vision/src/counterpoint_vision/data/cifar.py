"""The published CIFAR files, read without unpickling them.

The official "python version" is a set of pickles. Unpickling runs code, so the opcodes are only listed
(`pickletools.genops` executes nothing) and the two things wanted are picked out of the list.
"""

from __future__ import annotations

import hashlib
import pickletools
import tarfile
from pathlib import Path

import numpy as np

from counterpoint.errors import DataError, message

_TEXT = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"})
_BYTES = frozenset({"BINBYTES", "SHORT_BINBYTES"})
_NUMBER = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1"})
_LIST = frozenset({"EMPTY_LIST", "MARK", "APPENDS", "BINPUT", "LONG_BINPUT", "MEMOIZE"})


def read_batch(place: Path, md5: str, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, 3, 32, 32)`` uint8 and labels ``(N,)`` int64 of one batch file.

    Raises:
        DataError: the file is missing or is not the published one.
    """
    raw = _checked(place, md5)
    labels = np.array(after(raw, label_key, _NUMBER), dtype=np.int64)
    size = len(labels) * 3072
    pixels = next((text for text in strings(raw) if len(text) == size), None)
    if pixels is None or not size:
        raise DataError(message("source", f"{place.name} without pixels", "a published CIFAR batch"))
    images = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images, labels


def read_names(place: Path, md5: str, key: str) -> list[str]:
    """Class names from the ``meta`` file."""
    return [str(name) for name in after(_checked(place, md5), key, _TEXT)]


def strings(raw: bytes) -> list[bytes]:
    """Every byte string that a pickle holds."""
    kinds = _TEXT | _BYTES
    found = (arg for op, arg, _ in pickletools.genops(raw) if op.name in kinds)
    return [arg if isinstance(arg, bytes) else str(arg).encode("latin-1", "replace") for arg in found]


def after(raw: bytes, key: str, kinds: frozenset[str]) -> list[object]:
    """The list of numbers or strings that stands behind ``key`` in a pickled dictionary."""
    values: list[object] = []
    inside = closed = False
    for op, arg, _ in pickletools.genops(raw):
        if closed and op.name != "MARK":  # a long list comes in several runs, each from MARK to APPENDS
            break
        if inside and op.name in kinds:
            values.append(arg)
        elif inside and op.name not in _LIST:
            break
        elif op.name in _TEXT | _BYTES and arg in (key, key.encode()):
            inside = True
        closed = inside and op.name == "APPENDS"
    return values


def unpack(archive: Path, folder: Path, names: list[str]) -> None:
    """Write the wanted members of the official archive into ``folder``, and nothing else of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            file = tar.extractfile(member) if name in names else None
            if file is not None:
                (folder / name).write_bytes(file.read())


def _checked(place: Path, md5: str) -> bytes:
    try:
        raw = place.read_bytes()
    except OSError as error:
        raise DataError(message("source", f"{place}: {error.strerror}", "a CIFAR file that can be read")) from None
    if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
        todo = "Delete it and download it again."
        raise DataError(message("source", f"{place.name} with other content", "the published file", todo))
    return raw
