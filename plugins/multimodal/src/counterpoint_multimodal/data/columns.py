"""Which column is what, by the names that people use or as they say; and what stands in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from counterpoint.errors import DataError, message
from counterpoint.sources.columns import column, plain

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
LABEL = ("label", "class", "category", "target", "cls", "article_type")


def needed(argument: str, asked: str | None, usual: Sequence[str], names: Sequence[str], where: str) -> str:
    """As `counterpoint.sources.columns.column`, and an error, which calls the data ``where``, if there is none."""
    found = column(argument, asked, usual, names)
    if found is None:
        todo = f"Name it: --dataset.{argument} NAME."
        raise DataError(message(argument, f"{where} with {', '.join(names) or 'nothing'}", ", ".join(usual), todo))
    return found


def several(argument: str, asked: str | None, usual: Sequence[str], names: Sequence[str], where: str) -> list[str]:
    """The columns between commas in ``asked``; guessed, the first of ``usual`` and its like (caption, caption_2, ...).

    None at all where ``asked`` is "".

    Raises:
        DataError: one of them is not there, or none is found.
    """
    if asked == "":
        return []
    if asked and asked not in names and "," in asked:
        return [needed(argument, name.strip(), usual, names, where) for name in asked.split(",") if name.strip()]
    unnumbered = {_unnumbered(name): name for name in reversed(names)}
    if asked or not set(usual) & set(unnumbered):
        return [needed(argument, asked, usual, names, where)]
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


def _unnumbered(name: str) -> str:
    return re.sub(r"_?\d+$", "", plain(name))
