"""An index on disk: of which pictures, by which encoder, the vectors, and what could not be read.

::

    image-index/
      index.json        format, source, encoder
      damaged.csv       path, size, time and reason of each file that is no readable picture
      items.lance/      one row a picture: path, vector, size, time of change, hash of the content, caption
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from counterpoint._version import __version__
from counterpoint.errors import CounterpointError, DataError, message
from counterpoint.files import atomic, write_text
from counterpoint_apps.pictures.encoder import Origin, PictureEncoder, described
from counterpoint_apps.pictures.sources import Source
from counterpoint_apps.store import Store
from counterpoint_apps.store.lance import TABLE, LanceStore

FORMAT = 2
FACTS = ("size", "mtime_ns", "content")
META, DAMAGED, LOCK = "index.json", "damaged.csv", ".lock"

Damage = tuple[int, int, str]  # size, mtime_ns, reason


class PictureIndex:
    """An index that is there.

    Args:
        path: its directory.

    Attributes:
        described: its source, as `Source.described` has it.
        origin: where the encoder that made it comes from.
        store: its vectors.

    Raises:
        DataError: there is none, it is damaged, or it is of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.described, self.origin = _meta(path)
        self.store: Store = LanceStore(path)

    @classmethod
    def create(cls, path: Path, source: Source, encoder: PictureEncoder) -> PictureIndex:
        """A new, empty index.

        Raises:
            DataError: the place cannot be written, or holds something else.
        """
        try:
            if path.is_dir() and any(
                not child.name.startswith((".lock", META, DAMAGED, TABLE)) for child in path.iterdir()
            ):
                raise DataError(message("index", f"{path}, which holds other things", "an empty or a new folder"))
            path.mkdir(parents=True, exist_ok=True)
            LanceStore(path, encoder.dim, FACTS)
            meta = {"format": FORMAT, "counterpoint": __version__, "source": source.described}
            write_text(path / META, json.dumps({**meta, "encoder": described(encoder.origin)}, indent=2) + "\n")
        except OSError as error:
            raise DataError(message("index", f"{path}: {error.strerror}", "a place that can be written")) from None
        return cls(path)

    @property
    def damaged(self) -> dict[str, Damage]:
        """What could not be read, by path."""
        try:
            with (self.path / DAMAGED).open(newline="", encoding="utf-8") as stream:
                rows = list(csv.reader(stream))[1:]
            return {path: (int(size), int(mtime), reason) for path, size, mtime, reason in rows}
        except FileNotFoundError:
            return {}
        except ValueError:  # torn or edited: these files are looked at once more
            return {}

    @damaged.setter
    def damaged(self, found: Mapping[str, Damage]) -> None:
        with atomic(self.path / DAMAGED) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "size", "mtime_ns", "reason"])
            writer.writerows([path, *damage] for path, damage in sorted(found.items()))

    def how(self) -> str:
        """How it is searched, in words."""
        how = "approximate search (IVF)" if self.store.approximate else "exact search"
        return f"{how} over {len(self.store):,} pictures"


def exists(path: Path) -> bool:
    """Whether there is an index at ``path``, whole or not."""
    return (path / META).exists() or (path / f"{TABLE}.lance").exists()


def erase(path: Path) -> None:
    """Remove an index, and nothing else that lies there."""
    for name in (META, DAMAGED):
        (path / name).unlink(missing_ok=True)
    shutil.rmtree(path / f"{TABLE}.lance", ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the index for writing; the system lets go of it when the process ends, however it ends.

    Raises:
        DataError: another process is writing, or the place cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / LOCK, timeout=0):
            yield
    except Timeout:
        todo = "Wait until it is done; searching goes on meanwhile."
        raise DataError(message("index", f"{path}, which another process is writing", "one writer", todo)) from None
    except CounterpointError:
        raise
    except OSError as error:
        if error.errno == 28:
            raise DataError(
                f"{path}: the disk is full. Make room and run the same command again: it goes on."
            ) from None
        raise DataError(message("index", f"{path}: {error.strerror or error}", "a place that can be written")) from None


def _meta(path: Path) -> tuple[dict[str, Any], Origin]:
    """Source and encoder of the index."""
    make = "Make one with the verb index: index FOLDER --run RUN"
    if not exists(path):
        raise DataError(
            message("index", f"no index at {path}", "a directory that `index` made", f"{make} --index {path}")
        )
    try:
        meta = json.loads((path / META).read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            raise DataError(
                message("index", f"format {meta['format']} at {path}", FORMAT, "Make it anew with: --rebuild")
            )
        return dict(meta["source"]), Origin(**meta["encoder"])
    except CounterpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / META}: the index is damaged ({error}). Make it anew with: --rebuild") from None
