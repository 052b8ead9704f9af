"""Writing that leaves nothing half-written, and reading that stays inside its folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from counterpoint.errors import RunError, TrainingError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def inside(root: Path, name: str) -> Path:
    """``root / name``, provided that it lies inside ``root`` (links resolved).

    Raises:
        RunError: ``name`` is absolute or leads outside.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise RunError(f"{name!r} leads outside of {root}; a file inside it is needed")
    return path


def require_disk(folder: Path, needed: int) -> None:
    """Make sure that ``needed`` bytes are free where ``folder`` is (or will be).

    Raises:
        TrainingError: there is less.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TrainingError(
            f"{folder}: about {needed / 2**20:.0f} MiB are needed for checkpoints and results, "
            f"{free / 2**20:.0f} MiB are free. Make room, or choose another --out."
        )
