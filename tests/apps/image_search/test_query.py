"""``query`` and ``duplicates``: tables, JSON, CSV and pictures."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterpoint import apps
from counterpoint.errors import DataError

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_file_finds_itself_first(photos: Path, index: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["image-search", "query", str(photos / "red" / "0.png"), "--index", str(index)]
    assert apps.main([*words, "--sheet", str(tmp_path / "sheet.png")]) == 0
    printed = capsys.readouterr()
    assert "1.0000" in printed.out and "red/0.png" in printed.out
    assert "exact search over 60 pictures" in printed.err
    assert Image.open(tmp_path / "sheet.png").size[0] > 1500, "ten neighbours on a line, twenty on two"
    apps.main([*words, "-k", "3", "--json"])
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["query"].endswith("red/0.png")
    assert answer["neighbours"][0] == {"rank": 1, "score": 1.0, "path": "red/0.png"}
    assert len(answer["neighbours"]) == 3


def test_a_folder_is_as_many_queries(photos: Path, index: Path, capsys: Any) -> None:
    (photos / "red" / "broken.jpg").write_bytes(b"no picture")
    words = ["image-search", "query", str(photos / "red"), "-k", "2", "--index", str(index)]
    apps.main([*words, "--csv"])
    printed = capsys.readouterr()
    table = list(csv.DictReader(io.StringIO(printed.out)))
    assert len(table) == 40
    for first in table[::2]:
        assert first["query"].endswith(first["path"]) and first["rank"] == "1"
    assert "left out" in printed.err and "broken.jpg: not an image" in printed.err
    apps.main([*words, "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 20
    apps.main(words)
    assert "nearest (cosine)" in capsys.readouterr().out


def test_what_is_wrong_is_named(photos: Path, index: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for words, expected in (
        ([str(tmp_path / "absent.png")], "absent.png; allowed: picture files, or folders"),
        ([str(tmp_path / "broken.jpg")], "images: found none that can be read"),
        ([str(photos / "red" / "0.png"), "--index", str(tmp_path / "no")], "no index at .*index FOLDER --run RUN"),
    ):
        with pytest.raises(DataError, match=expected):
            apps.main(["image-search", "query", "--index", str(index), *words])


def test_near_duplicates_are_grouped_and_shown(
    run: Path, tmp_path: Path, update: Callable[..., Any], capsys: Any
) -> None:
    from skimage import data

    photos = tmp_path / "photos"
    photos.mkdir()
    whole = [Image.fromarray(np.atleast_3d(getattr(data, name)())).convert("RGB") for name in ("astronaut", "coffee")]
    draw = np.random.default_rng(0)
    for number, image in enumerate(whole):
        image.save(photos / f"{number}.png")
        image.resize((image.width // 2, image.height // 2)).save(photos / f"{number}-half.png")
        for part in range(20):
            x, y = draw.integers(0, image.width - 100), draw.integers(0, image.height - 100)
            image.crop((x, y, x + 100, y + 100)).save(photos / f"{number}-part-{part}.jpg")
    shutil.copy(photos / "0-part-0.jpg", photos / "copy of a part.jpg")
    update(photos)
    words = ["image-search", "duplicates", "--index", str(tmp_path / "index")]
    assert apps.main([*words, "--sheet", str(tmp_path / "d.png")]) == 0
    printed = capsys.readouterr()
    assert "copy of a part.jpg" in printed.out
    assert "Threshold 0." in printed.err
    assert (tmp_path / "d.png").stat().st_size > 5_000
    apps.main([*words, "--threshold", "1.0", "--json"])
    groups = json.loads(capsys.readouterr().out)
    assert [sorted(one["path"] for one in group) for group in groups] == [["0-part-0.jpg", "copy of a part.jpg"]]
    apps.main([*words, "--csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {"0-part-0.jpg", "copy of a part.jpg"} <= {row["path"] for row in rows}
