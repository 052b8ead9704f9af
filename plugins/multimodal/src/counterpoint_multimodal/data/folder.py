"""A folder of pictures that are called by what they show."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from counterpoint.errors import DataError, message
from counterpoint.sources import folders
from counterpoint_multimodal.data.files import IMAGES, PairFiles
from counterpoint_multimodal.data.pairs import Records

_TEXT = ".txt"
_NUMBER = re.compile(r"(^|[\s_\-.(]+)\d+\)?$")


class PairFolder(PairFiles):
    """Every image below a folder; its name is its caption, or the text file beside it has them.

    ``red_shoe-02.jpg`` is "red shoe": marks become spaces, and a number at the end is left out. ``x.txt`` beside
    ``x.jpg`` goes before the name, one caption a line. An image that is called by a number only has no caption and
    comes back as `Damaged`. Subfolders are classes if the images lie in two or more of them; ``train``, ``val`` and
    ``test`` are the official parts when all images lie in them.

    Args:
        source: the folder.
        caption: ``"name"`` or ``"text"``, where only names or only text files count; None: text files go before names;
            "" for neither, and pictures alone.
        label: "" leaves the subfolders' names alone, so that nothing is labelled.
        max_side: pictures whose shorter side is longer are read smaller, by a whole factor. None: full size.
        lower: captions in small letters.

    Raises:
        DataError: no such folder, no image in it, or none that has a caption.
    """

    def __init__(
        self,
        source: str,
        *,
        caption: Literal["name", "text", ""] | None = None,
        label: Literal[""] | None = None,
        max_side: int | None = None,
        lower: bool = False,
    ) -> None:
        root = Path(source).expanduser()
        if not root.is_dir():
            raise DataError(message("source", f"no folder {source!r}", "a folder that holds images"))
        try:
            found = sorted(folders.walk(root, lambda name: folders.ends(name, IMAGES | {_TEXT})))
        except OSError as error:
            raise DataError(message("source", f"{source!r}: {error.strerror}", "a folder that can be read")) from None
        paths = [path for path in found if folders.ends(path, IMAGES)]
        if not paths:
            looked = ", ".join(sorted(IMAGES))
            raise DataError(message("source", f"no image in {source!r} or below", f"files ending in {looked}"))
        captioned = caption != ""
        records = Records(paths, [[] for _ in paths], parts=folders.parts(paths), captioned=captioned)
        if caption in ("text", None):
            _from_texts(records, root, set(found))
        if caption in ("name", None):
            _from_names(records)
        if label is None:
            records.labels = folders.classes(paths, below=records.parts is not None)
        self._open(root, records, max_side, lower)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a folder."""
        return Path(source).expanduser().is_dir()


def _from_texts(records: Records, root: Path, found: set[str]) -> None:
    """Captions from the text files that there are."""
    unreadable = 0
    for number, path in enumerate(records.names):
        beside = str(PurePosixPath(path).with_suffix(_TEXT))
        if beside in found:
            try:
                lines = (root / beside).read_text(encoding="utf-8-sig", errors="replace").splitlines()
            except OSError:
                unreadable += 1
                continue
            records.captions[number] = [line for line in lines if line.strip()]
    if unreadable:
        records.notes.append(f"Left out: {unreadable:,} text files that cannot be read.")


def _from_names(records: Records) -> None:
    """Captions from the names of those images that have none yet."""
    spoken: list[str] = []
    for captions, path in zip(records.captions, records.names):
        if not captions:
            captions += [words(PurePosixPath(path).stem)]
            spoken += filter(None, captions)
    if spoken:
        told = f"the first is {spoken[0]!r}"
        records.notes.append(f"Captions from the names of files: {len(spoken):,} of {len(records.names):,}; {told}.")


def words(stem: str) -> str:
    """``"red_shoe-02"`` -> ``"red shoe"``; "" where there is nothing but a number."""
    return re.sub(r"[\s_\-.+]+", " ", _NUMBER.sub("", stem)).strip()
