"""A picture of queries and their nearest neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from counterpoint.errors import DataError, ShapeError, message
from counterpoint.parts import Dataset
from counterpoint.types import Damaged

SIDE, GAP, LINE, FRAME, MARGIN = 136, 14, 18, 4, 28  # pixels; 128 inside the frame: 32 and 64 fit whole
ACROSS = 10  # neighbours on one line; more go on below
_PAPER, _INK, _QUIET, _RULE = "#fbfaf7", "#22252a", "#767c85", "#d9d6cf"
_RIGHT, _WRONG = "#2a9d5c", "#d1495b"
_LEAST = 480  # pixels: room for the title


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of a contact sheet.

    Attributes:
        image: uint8 ``(3, H, W)`` of any size.
        caption: one line below it.
        score: similarity to the query, shown before the caption.
        label: class index; where the query's is known too, the frame says whether they agree.
    """

    image: Tensor
    caption: str = ""
    score: float | None = None
    label: int | None = None

    @classmethod
    def of(cls, dataset: Dataset, index: int, score: float | None = None) -> Tile:
        """Tile of an image of ``dataset``; the caption is its class, or its name where it has none.

        Raises:
            DataError: the image is damaged.
        """
        sample = dataset[index]
        if isinstance(sample, Damaged):
            raise DataError(message(f"image {sample.name}", sample.reason, "an image that can be read"))
        known = sample.label is not None and dataset.classes is not None
        caption = dataset.classes[sample.label] if known else dataset.name(index)  # type: ignore[index]
        return cls(sample.data["image"], caption, score, sample.label)

    @classmethod
    def missing(cls, caption: str, score: float | None = None) -> Tile:
        """A blank tile for an image that cannot be shown."""
        return cls(torch.full((3, 1, 1), 235, dtype=torch.uint8), caption, score)


def contact_sheet(
    queries: Sequence[Tile],
    neighbours: Sequence[Sequence[Tile]],
    path: str | Path,
    title: str = "",
    heads: tuple[str, str] = ("query", "nearest first"),
) -> Path:
    """Draw one row per query: the query, then its neighbours from the nearest on, ten on a line.

    A neighbour of the query's class has a green frame, one of another class a red one. Images smaller than the tile are
    enlarged by a whole factor without smoothing.

    Args:
        queries: one tile per row.
        neighbours: for each query its neighbours; rows may differ in length.
        path: PNG file to write (its folder is made).
        title: one line above the rows.
        heads: what stands above the queries and above their neighbours.

    Returns:
        ``path``.

    Raises:
        ShapeError: no query, a number of rows that differs, or an image that is not uint8 ``(3, H, W)``.
    """
    if not queries or len(queries) != len(neighbours):
        found = f"{len(queries)} queries and {len(neighbours)} rows"
        raise ShapeError(message("neighbours", found, "one row of neighbours for each of at least one query"))
    columns = min(ACROSS, max(len(row) for row in neighbours))
    top = MARGIN + (40 if title else 0) + 26
    lines = [max(1, -(-len(row) // ACROSS)) for row in neighbours]
    height = top + sum(lines) * (SIDE + LINE + GAP) + MARGIN
    sheet = Image.new("RGB", (max(_left(columns + 1) - GAP + MARGIN, _LEAST), height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _head(draw, title, heads, top)
    for number, (query, row) in enumerate(zip(queries, neighbours)):
        y = top + sum(lines[:number]) * (SIDE + LINE + GAP)
        _tile(sheet, draw, query, (_left(0), y), None)
        for place, tile in enumerate(row):
            known = query.label is not None and tile.label is not None
            corner = _left(place % ACROSS + 1), y + place // ACROSS * (SIDE + LINE + GAP)
            _tile(sheet, draw, tile, corner, tile.label == query.label if known else None)
    _foot(draw, queries, neighbours, height)
    return _write(sheet, Path(path))


def _left(column: int) -> int:
    """Where a column begins; between the queries and their neighbours there is a wider gap."""
    return MARGIN + column * (SIDE + GAP) + (2 * GAP if column else 0)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _head(draw: ImageDraw.ImageDraw, title: str, heads: tuple[str, str], top: int) -> None:
    if title:
        draw.text((MARGIN, MARGIN - 6), title, _INK, _font(22))
    draw.text((_left(0), top - 24), heads[0], _QUIET, _font(14))
    draw.text((_left(1), top - 24), heads[1], _QUIET, _font(14))


def _tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int], agrees: bool | None
) -> None:
    x, y = corner
    image = fitted(tile.image, SIDE - 2 * FRAME)
    inset = (SIDE - image.width) // 2, (SIDE - image.height) // 2
    frame = _RULE if agrees is None else _RIGHT if agrees else _WRONG
    box = (x + inset[0], y + inset[1], x + inset[0] + image.width - 1, y + inset[1] + image.height - 1)
    edge = 1 if agrees is None else FRAME
    draw.rectangle((box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge), fill=frame)
    sheet.paste(image, box[:2])
    _line(draw, tile, (x, y + SIDE + 1))


def _line(draw: ImageDraw.ImageDraw, tile: Tile, place: tuple[int, int]) -> None:
    """The score in ink and the caption after it in grey, cut to the tile's width."""
    font, (x, y) = _font(13), place
    end = x + SIDE
    if tile.score is not None:
        score = f"{tile.score:.2f}"
        draw.text((x, y), score, _INK, font)
        x += round(draw.textlength(score + "  ", font))
    draw.text((x, y), _cut(tile.caption, lambda text: draw.textlength(text, font) <= end - x), _QUIET, font)


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    """As much of ``text`` as fits: of a path the end, of a word the beginning."""
    if fits(text):
        return text
    tails = "/" in text
    for length in range(len(text) - 1, 0, -1):
        shorter = f"…{text[-length:]}" if tails else f"{text[:length]}…"
        if fits(shorter):
            return shorter
    return ""


def fitted(image: Tensor, side: int) -> Image.Image:
    """The image with its longer side at most ``side``: small ones enlarged by a whole factor, large ones reduced.

    Args:
        image: uint8 ``(3, H, W)``.
        side: pixels.

    Raises:
        ShapeError: another type or shape.
    """
    if image.dim() != 3 or image.shape[0] != 3 or str(image.dtype) != "torch.uint8":
        raise ShapeError(message("image", f"{image.dtype} {tuple(image.shape)}", "uint8 (3, H, W)"))
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    factor = side // max(picture.size)
    if factor >= 1:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    share = side / max(picture.size)
    size = max(1, round(picture.width * share)), max(1, round(picture.height * share))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _foot(
    draw: ImageDraw.ImageDraw, queries: Sequence[Tile], neighbours: Sequence[Sequence[Tile]], height: int
) -> None:
    pairs = [(q.label, n.label) for q, row in zip(queries, neighbours) for n in row]
    known = [pair for pair in pairs if None not in pair]
    if not known:
        return
    right = sum(query == neighbour for query, neighbour in known)
    x, y = MARGIN, height - MARGIN
    for color, text in ((_RIGHT, f"same class: {right}"), (_WRONG, f"another class: {len(known) - right}")):
        draw.rectangle((x, y, x + 12, y + 12), fill=color)
        draw.text((x + 18, y - 2), text, _QUIET, _font(14))
        x += 40 + round(draw.textlength(text, _font(14)))


def _write(sheet: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        sheet.save(part, "PNG", optimize=True)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
