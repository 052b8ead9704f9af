"""``search`` and ``classify``: words and pictures in; tables, JSON, CSV and contact sheets out."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from counterpoint import apps
from counterpoint.errors import ConfigError, CounterpointError, DataError
from counterpoint_apps.picture_search.sheet import tile_of_words

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Call = Callable[..., str]


def rows(printed: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(printed[: printed.index("exact search")])))


def test_words_find_what_they_say(app: Call, tmp_path: Path) -> None:
    """Of 54 drawings nine have each colour: by chance one of six is right."""
    found = rows(app("search", "red", "blue", "yellow", "-k", 6, "--csv", "--sheet", tmp_path / "sheet.png"))
    assert len(found) == 18
    right = Counter(row["query"] in row["caption"] for row in found)
    assert right[True] >= 12, right
    scores = [float(row["score"]) for row in found[:6]]
    assert scores == sorted(scores, reverse=True)
    assert Image.open(tmp_path / "sheet.png").size[1] > 3 * 136


def test_a_picture_finds_itself_and_words_turn_it(app: Call, catalogue: Path, tmp_path: Path) -> None:
    picture = catalogue.parent / "images" / "000.png"  # red
    words = ["search", "--image", picture, "-k", 5, "--json"]
    printed = app(*words)
    (answer,) = json.loads(printed[: printed.index("exact search")])
    first = answer["neighbours"][0]
    assert (first["path"], first["score"]) == ("images/000.png", 1.0) and "red" in first["caption"]

    def order(*more: object) -> list[str]:
        return [row["path"] for row in rows(app("search", "-k", 54, "--csv", *more))]

    alone, like = order("blue"), order("--image", picture)
    assert order("blue", "--image", picture, "--weight", 1) == alone
    assert order("blue", "--image", picture, "--weight", 0) == like
    assert order("blue", "--image", picture) not in (alone, like)
    printed = app("search", "blue", "--image", picture, "-k", 3, "--sheet", tmp_path / "sheet.png")
    assert "Pictures: blue + " in printed.replace("\n", " ") and (tmp_path / "sheet.png").stat().st_size > 3_000
    assert "compared with all: --exact" in app("search", "blue", "-k", 1, "--exact")


def test_classes_that_are_only_named(app: Call, catalogue: Path, tmp_path: Path) -> None:
    colours = "red,green,blue,yellow,purple,black"
    printed = app("classify", "--classes", colours, "-k", 1, "--csv", "--sheet", tmp_path / "sheet.png")
    found = list(csv.DictReader(io.StringIO(printed)))[:54]
    names = dict(line.split(",")[:2] for line in catalogue.read_text().splitlines()[1:])
    right = sum(row["class"] in names[row["path"]] for row in found)
    assert right > 27, f"{right} of 54 by words, 9 by chance"
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    (tmp_path / "classes.txt").write_text("red\n\nblue\n", encoding="utf-8")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    few = [catalogue.parent / "images" / "000.png", tmp_path / "broken.png"]
    printed = app("classify", *few, "--classes", tmp_path / "classes.txt", "--template", "a {} thing", "--json")
    (answer,) = json.loads(printed[: printed.index("left out")])
    assert answer["classes"][0]["class"] == "red" and len(answer["classes"]) == 2
    assert "left out" in printed and "broken.png: not an image" in printed and "red: 1" in printed


def test_what_is_wrong_is_named(index: Path, catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    wrong: list[tuple[type[CounterpointError], str, list[object]]] = [
        (ConfigError, "words: found none; allowed: some words, or --image", ["search"]),
        (DataError, "words: found '  '", ["search", "red", "  "]),
        (ConfigError, r"--weight: found 1\.5", ["search", "red", "--image", catalogue, "--weight", "1.5"]),
        (ConfigError, "k: found 0", ["search", "red", "-k", "0"]),
        (DataError, "image: found .*absent.png: No such file", ["search", "--image", tmp_path / "absent.png"]),
        (DataError, "image: found .*broken.jpg: not an image", ["search", "--image", tmp_path / "broken.jpg"]),
        (DataError, "--classes: found ' , '", ["classify", "--classes", " , "]),
        (DataError, "classes: found 'cat' twice", ["classify", "--classes", "cat,cat"]),
        (ConfigError, "templates: found 'a photo'", ["classify", "--classes", "a,b", "--template", "a photo"]),
        (DataError, "images: found .*absent", ["classify", tmp_path / "absent", "--classes", "a,b"]),
        (DataError, "none that can be read", ["classify", tmp_path / "broken.jpg", "--classes", "a,b"]),
    ]
    for kind, expected, words in wrong:
        with pytest.raises(kind, match=expected):
            apps.main(["picture-search", *map(str, words), "--index", str(index)])
    with pytest.raises(DataError, match=r"no index at .*index FOLDER --run RUN"):
        apps.main(["picture-search", "search", "red", "--index", str(tmp_path / "no")])


def test_help_shows_examples(capsys: Any) -> None:
    for verb in ("index", "search", "classify", "prompts", "serve"):
        with pytest.raises(SystemExit):
            apps.main(["picture-search", verb, "--help"])
        assert f"counterpoint app picture-search {verb}" in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    "words", ["shoe", "a very long description of a picture " * 9, "oneverylongwordwithoutaspace", "ж"]
)
def test_words_fit_on_their_tile(words: str) -> None:
    image = tile_of_words(words).image.float()
    ink = (image.mean(0) < 150).nonzero()
    assert len(ink) > 5
    assert ink.min() >= 2 and ink.max() < image.shape[1] - 2
