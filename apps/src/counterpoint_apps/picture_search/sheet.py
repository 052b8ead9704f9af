"""Tiles of what was searched for: words as a picture of themselves."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from counterpoint_apps.pictures.sheet import tile_of_file
from counterpoint_vision.tasks import Tile
from counterpoint_vision.tasks.sheet import FRAME, SIDE

_PAPER, _INK = "#eceae4", "#22252a"
_INNER = SIDE - 2 * FRAME
_SIZES = (24, 20, 17, 14, 12)  # of the letters, the largest that fits


def tile_of_query(words: str, image: Path | None = None) -> Tile:
    """The words written on a tile; with an image, that, and the words below it."""
    if image is None:
        return tile_of_words(words)
    made = tile_of_file(str(image))
    return Tile(made.image, f"+ {words}" if words else made.caption)


def tile_of_words(words: str) -> Tile:
    """A tile with nothing on it but the words, as large as they fit."""
    picture = Image.new("RGB", (_INNER, _INNER), _PAPER)
    draw = ImageDraw.Draw(picture)
    for size in _SIZES:
        font = ImageFont.load_default(size)
        text = "\n".join(textwrap.wrap(words, max(4, round(_INNER * 1.75 / size)), max_lines=7, placeholder=" …"))
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font, spacing=4, align="center")
        if right - left <= _INNER - 12 and bottom - top <= _INNER - 12:
            break
    place = ((_INNER - right - left) / 2, (_INNER - bottom - top) / 2)
    draw.multiline_text(place, text, _INK, font, spacing=4, align="center")
    return Tile(torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous())
