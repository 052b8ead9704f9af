"""Where the pictures of an index come from: listed cheaply, read when they are new or changed, shown when found."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint.parts import Dataset, content_id
from counterpoint_vision.data.decode import SUFFIXES, decode
from counterpoint_vision.data.files import ImageFiles
from counterpoint_vision.data.folder import scan

State = tuple[int, int]
"""What shows at a glance that a picture or its caption may have changed: of a file its size and time (ns)."""


class Source(ABC):
    """Pictures with a key each."""

    @abstractmethod
    def __str__(self) -> str:
        """What a person calls it."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """For `index.json`: enough to open it again."""

    @property
    @abstractmethod
    def nothing(self) -> str:
        """What is wrong where it has no picture at all."""

    @abstractmethod
    def list(self, unreadable: Callable[[str], None], bad: Callable[[str, str], None]) -> Iterator[tuple[str, State]]:
        """Keys and states, in no particular order.

        Args:
            unreadable: told what all keys begin with that cannot be looked at now.
            bad: told the key of what is no readable picture, and why.
        """

    @abstractmethod
    def state(self, key: str) -> State | None:
        """The state of a picture now; None: it is not there, or must not be given out."""

    @abstractmethod
    def content(self, key: str) -> int | None:
        """Content id, or None where it cannot be read."""

    @abstractmethod
    def dataset(self, keys: Sequence[str], max_side: int) -> Dataset:
        """The pictures at ``keys``, in their order, read no larger than ``max_side`` asks."""

    @abstractmethod
    def raw(self, key: str) -> tuple[bytes, str]:
        """A picture as a file's content, and its media type.

        Raises:
            DataError: it cannot be read.
        """

    def image(self, key: str, max_side: int) -> Tensor:
        """uint8 ``(3, H, W)``, its shorter side at most ``max_side``.

        Raises:
            DataError: it cannot be read.
        """
        raw, _ = self.raw(key)
        try:
            return decode(raw, max_side)
        except ValueError as error:
            raise DataError(message(f"picture {key}", error, "a picture that can be read")) from None

    def captions(self, keys: Sequence[str]) -> Sequence[str]:
        """What is written beside each picture; "" where there is nothing."""
        return [""] * len(keys)


class Folder(Source):
    """Every picture in a folder and below, by its relative path.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()

    @classmethod
    def checked(cls, root: Path) -> Folder:
        """A folder that can be read.

        Raises:
            DataError: it is missing or unreadable.
        """
        made = cls(root)
        if not made.root.is_dir():
            raise DataError(message("folder", f"no folder {root}", "a folder with pictures"))
        try:
            os.scandir(made.root).close()
        except OSError as error:
            raise DataError(message("folder", f"{root}: {error.strerror}", "a folder that can be read")) from None
        return made

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Folder:
        """The folder of an index."""
        return cls(Path(described["folder"]))

    def __str__(self) -> str:
        return str(self.root)

    @property
    def described(self) -> dict[str, Any]:
        """See `Source.described`."""
        return {"folder": str(self.root.resolve())}

    @property
    def nothing(self) -> str:
        """See `Source.nothing`."""
        looked = ", ".join(sorted(SUFFIXES))
        return message("folder", f"no picture in {self.root} or below", f"files ending in {looked}")

    def list(self, unreadable: Callable[[str], None], bad: Callable[[str, str], None]) -> Iterator[tuple[str, State]]:
        """See `Source.list`; streamed, so that memory does not grow with the folder."""
        for path in scan(self.root, unreadable):
            try:
                status = os.stat(f"{self.root}/{path}")  # noqa: PTH116 — a million Path objects take seconds
                path.encode()
            except UnicodeEncodeError:
                bad(path.encode("utf-8", "backslashreplace").decode(), "its name is not UTF-8: rename it")
            except OSError as error:
                bad(path, error.strerror or str(error))
            else:
                yield path, (status.st_size, status.st_mtime_ns)

    def state(self, key: str) -> State | None:
        """See `Source.state`; None for everything outside of the folder and for what is no picture by its name."""
        place = PurePosixPath(key)
        if place.is_absolute() or ".." in place.parts or place.suffix.lower() not in SUFFIXES:
            return None
        try:
            status = (self.root / key).stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def content(self, key: str) -> int | None:
        """See `Source.content`."""
        try:
            return content_id((self.root / key).read_bytes())
        except OSError:
            return None

    def dataset(self, keys: Sequence[str], max_side: int) -> Dataset:
        """See `Source.dataset`."""
        return ImageFiles(self.root, [*keys], None, None, max_side)

    def raw(self, key: str) -> tuple[bytes, str]:
        """See `Source.raw`."""
        try:
            raw = (self.root / key).read_bytes()
        except OSError as error:
            raise DataError(message(f"picture {key}", error.strerror, "a file that can be read")) from None
        return raw, media_type(raw)


def media_type(raw: bytes) -> str:
    """By the content's first bytes; what is no picture is ``application/octet-stream``, which no browser shows."""
    try:
        with Image.open(io.BytesIO(raw)) as image:
            return Image.MIME.get(image.format or "", "application/octet-stream")
    except OSError:
        return "application/octet-stream"
