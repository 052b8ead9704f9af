"""Folders of pictures that are called by what they show."""

from __future__ import annotations

import pytest

from counterpoint.errors import DataError
from counterpoint.types import Damaged
from counterpoint_multimodal.data import PairFolder, examples
from counterpoint_multimodal.data.folder import words

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("stem", "caption"),
    [
        ("red_shoe-02", "red shoe"),
        ("red shoe (3)", "red shoe"),
        ("Red.Shoe", "Red Shoe"),
        ("iphone_12-03", "iphone 12"),
        ("00123", ""),
        ("rotes_Büro", "rotes Büro"),
        ("shoe2", "shoe2"),
    ],
)
def test_words(stem, caption):
    assert words(stem) == caption


def test_the_example(tmp_path):
    data = PairFolder(**examples.folder(tmp_path))
    assert len(data) == 48 and data.classes == ["circle", "square", "triangle"]
    assert data.captions[data._names.index("square/a_small_red_square-01.png")] == ["a small red square"]
    assert ["a small red circle", "circle in red, small"] in data.captions
    assert any("Captions from the names of files: 32 of 48" in note for note in data.notes)
    named = PairFolder(str(tmp_path), caption="name", label="")
    assert named.labels is None and all(len(captions) == 1 for captions in named.captions)


def test_numbers_only_and_texts_only(tmp_path):
    image = next(examples.drawings(2, side=8)).image
    for name in ("001.png", "a_hat.png", "shoe.PNG", ".hidden.png"):
        image.save(tmp_path / name, "PNG")
    (tmp_path / "a_hat.txt").write_text("\ufeffa hat\n\n a red hat \n", encoding="utf-8")
    data = PairFolder(str(tmp_path))
    assert data.captions == [[""], ["a hat", "a red hat"], ["shoe"]]
    assert isinstance(data[0], Damaged) and data[0].reason == "no caption"
    assert data.batch([1]).data["image"].shape == (1, 3, 8, 8)
    assert PairFolder(str(tmp_path), caption="text").captions == [[""], ["a hat", "a red hat"], [""]]


def test_official_folders(tmp_path):
    for number, one in enumerate(examples.drawings(8, side=8)):
        path = tmp_path / ("test" if number > 5 else "train") / f"shape_{'abcdefgh'[number]}.png"
        path.parent.mkdir(exist_ok=True)
        one.image.save(path)
    data = PairFolder(str(tmp_path))
    assert [data.name(index) for index in data.splits()["test"]] == ["test/shape_g.png", "test/shape_h.png"]
    assert data.labels is None


def test_names_that_say_nothing(tmp_path):
    for number, one in enumerate(examples.drawings(3, side=8)):
        one.image.save(tmp_path / f"{number:05d}.png")
    with pytest.raises(DataError, match=r"caption: found none for 3 pictures; allowed: one for some of them at least"):
        PairFolder(str(tmp_path))


def test_nothing_to_open(tmp_path):
    with pytest.raises(DataError, match=r"no image in '.*' or below; allowed: files ending in"):
        PairFolder(str(tmp_path))
    with pytest.raises(DataError, match=r"no folder"):
        PairFolder(str(tmp_path / "none"))
    assert PairFolder.accepts(str(tmp_path)) and not PairFolder.accepts(str(tmp_path / "none"))
