"""Where the members of tar archives lie, and the small ones' texts."""

from __future__ import annotations

import glob
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from os.path import commonpath
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.errors import DataError, message
from counterpoint_multimodal.data.files import IMAGES

_TEXTS = frozenset({"txt", "text", "caption", "cls", "json"})
_LARGEST = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass
class Index:
    """What archives hold.

    Attributes:
        shards: the archives.
        names: of each pair, its key; the archive's name goes before it where there are several.
        tops: of each pair, ``<word>/``, the letters with which the archive's name begins.
        where: ``(N, 3)`` int64: archive, offset and size of each picture.
        facts: of each pair, the texts beside the picture by their ending, and the fields of its JSON.
        endings: of members that there are.
        notes: what was left out, a sentence each.
    """

    shards: list[Path]
    names: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    where: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), dtype=np.int64))
    facts: list[dict[str, Any]] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def expanded(source: str) -> list[Path]:
    """The archives that a path, a folder or a pattern of names stands for, in their order, each once."""
    found: list[Path] = []
    for name in _braces(str(Path(source).expanduser())):
        place = Path(name)
        if place.is_dir():
            found += sorted(place.glob("*.tar"))
        elif glob.has_magic(name) and not place.is_file():
            found += [Path(one) for one in sorted(glob.glob(name))]  # noqa: PTH207 — the pattern may be absolute
        else:
            found.append(place)
    return [place for place in dict.fromkeys(found) if place.suffix.lower() == ".tar" and place.is_file()]


def _braces(text: str) -> Iterator[str]:
    """``"a-{0..2}-{x,y}"`` -> ``a-0-x``, ``a-0-y``, ``a-1-x`` ..., with as many digits as the first number has."""
    pieces = _BRACES.split(text)
    choices = [_choices(piece) if number % 2 else [piece] for number, piece in enumerate(pieces)]
    return ("".join(chosen) for chosen in product(*choices))


def _choices(inside: str) -> list[str]:
    run = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if run is not None:
        width = len(run[1])
        return [f"{number:0{width}d}" for number in range(int(run[1]), int(run[2]) + 1)]
    return inside.split(",") if "," in inside else [f"{{{inside}}}"]


def indexed(shards: list[Path], image: str | None) -> Index:
    """Go through the archives once.

    Args:
        shards: existing files.
        image: ending of the pictures; None: any that is known.

    Raises:
        DataError: one of them is no plain tar archive.
    """
    index, left_out = Index(shards), Counter[str]()
    images = {image} if image is not None else {ending.lstrip(".") for ending in IMAGES}
    labels = _labels(shards)
    endings: dict[str, None] = {}
    where: list[tuple[int, int, int]] = []
    for number, shard in enumerate(shards):
        pairs: dict[str, dict[str, Any]] = {}
        places: dict[str, tuple[int, int, int]] = {}
        for member, content in _members(shard, left_out):
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            ending, key = ending.lower(), f"{folder}/{stem}".lstrip("/")
            endings.setdefault(ending)
            own = pairs.setdefault(key, {})
            if ending in images:
                left_out["second pictures of a key"] += key in places
                places.setdefault(key, (number, member.offset_data, member.size))
            elif content is not None:
                own.update(_facts(ending, content, left_out))
        left_out["keys without a picture"] += len(pairs) - len(places)
        for key, place in places.items():
            index.names.append(f"{labels[number]}/{key}" if len(shards) > 1 else key)
            index.tops.append(re.match(r"[A-Za-z]*", shard.name)[0] + "/")  # type: ignore[index]
            index.facts.append(pairs[key])
            where.append(place)
    index.where = np.array(where, dtype=np.int64).reshape(-1, 3)
    index.endings = list(endings)
    index.notes = [f"Left out: {count:,} {what}." for what, count in left_out.items() if count]
    return index


def _labels(shards: list[Path]) -> list[str]:
    """Their names without ``.tar``, relative to the folder that all are in."""
    root = commonpath([shard.absolute().parent for shard in shards])
    return [shard.absolute().relative_to(root).with_suffix("").as_posix() for shard in shards]


def _members(shard: Path, left_out: Counter[str]) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Files of an archive, with their content where they are small texts; a cut-off archive ends early."""
    count = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                count += 1
                if not member.isfile():
                    continue
                ending = member.name.rpartition("/")[2].partition(".")[2].lower()
                file = archive.extractfile(member) if ending in _TEXTS else None
                yield member, None if file is None else file.read(_LARGEST)
    except (tarfile.TarError, OSError, EOFError) as error:
        if not count:
            todo = "A compressed one (.tar.gz) must be unpacked to .tar first, since pictures are read in any order."
            raise DataError(message("source", f"{shard.name}: {error}", "a plain .tar archive", todo)) from None
        left_out[f"members or more after the {count:,} that can be read of {shard.name}, which is cut off"] += 1


def _facts(ending: str, content: bytes, left_out: Counter[str]) -> dict[str, Any]:
    text = content.decode("utf-8-sig", "replace")
    if ending != "json":
        return {ending: text.strip() if ending == "cls" else [line for line in text.splitlines() if line.strip()]}
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        left_out["JSON members that are no object"] += 1
        return {}
    return {str(name): value for name, value in fields.items()}
