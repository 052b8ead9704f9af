"""Which column is what, by the names that people use or as they say; and what stands in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from counterpoint.errors import DataError, message, nearest

IMAGE = (
    *("image", "image_path", "img", "img_path", "picture", "photo", "path", "file", "filename", "file_name"),
    *("filepath", "file_path"),
)
CAPTION = (
    *(
        "caption",
        "captions",
        "text",
        "texts",
        "txt",
        "sentence",
        "sentences",
        "title",
        "description",
        "alt_text",
        "alt",
    ),
    *("prompt", "name", "product_name", "product_title", "product_display_name"),
)
LABEL = ("label", "class", "category", "target", "cls")


def one(argument: str, asked: str | None, usual: Sequence[str], names: Sequence[str], where: str) -> str | None:
    """The column that ``asked`` names, else the first of the ``usual`` ones that is there, else None.

    Args:
        argument: what an error calls the option.
        asked: a column; "" for none; None for a guess.
        usual: names that are looked for, in small letters.
        names: those that there are.
        where: what an error calls the data.

    Raises:
        DataError: the column that is asked for is not there.
    """
    if asked == "":
        return None
    if asked is not None:
        if asked not in names:
            todo = nearest(asked, names).strip()
            raise DataError(message(argument, repr(asked), f"a column of {where}", todo))
        return asked
    known = {_plain(name): name for name in reversed(names)}
    return next((known[name] for name in usual if name in known), None)


def needed(argument: str, asked: str | None, usual: Sequence[str], names: Sequence[str], where: str) -> str:
    """As `one`, and an error where there is none."""
    found = one(argument, asked, usual, names, where)
    if found is None:
        todo = f"Name it: {argument}=..."
        raise DataError(message(argument, f"{where} with {', '.join(names) or 'nothing'}", ", ".join(usual), todo))
    return found


def several(argument: str, asked: str | None, usual: Sequence[str], names: Sequence[str], where: str) -> list[str]:
    """The columns between commas in ``asked``; guessed, the first of ``usual`` and its like (caption, caption_2, ...).

    Raises:
        DataError: one of them is not there, or none is found.
    """
    if asked and asked not in names and "," in asked:
        return [needed(argument, name.strip(), usual, names, where) for name in asked.split(",") if name.strip()]
    unnumbered = {_unnumbered(name): name for name in reversed(names)}
    if asked or not set(usual) & set(unnumbered):
        return [needed(argument, asked or None, usual, names, where)]
    stem = next(name for name in usual if name in unnumbered)
    return [name for name in names if _unnumbered(name) == stem]


def texts(columns: Mapping[str, Sequence[Any]], names: Iterable[str], count: int) -> list[list[str]]:
    """The texts of ``count`` rows in the columns ``names``; a list, written as JSON or not, is several."""
    found: list[list[str]] = [[] for _ in range(count)]
    for name in names:
        for own, value in zip(found, columns[name]):
            own.extend(_split(value))
    return found


def _split(value: Any) -> list[str]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:  # "[sic] a text in brackets"
            return [str(value)]
    if isinstance(value, (list, tuple)):
        return [str(one) for one in value if one is not None]
    return [] if value is None else [str(value)]


def _plain(name: str) -> str:
    """``"Image Path"`` -> ``"image_path"``, ``"productDisplayName"`` -> ``"product_display_name"``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^0-9a-z]+", "_", spaced.lower()).strip("_")


def _unnumbered(name: str) -> str:
    return re.sub(r"_?\d+$", "", _plain(name))
