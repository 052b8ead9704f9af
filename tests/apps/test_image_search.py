"""Image search by example: neighbours of held-out samples and of files, as table and picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import counterpoint as cp
from counterpoint import apps
from counterpoint.errors import ConfigError, CounterpointError, DataError

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of 60 plain pictures in three colours."""
    place = tmp_path_factory.mktemp("search")
    draw = np.random.default_rng(0)
    for number in range(60):
        folder = place / "photos" / ("red", "green", "blue")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 60, (32, 32, 3))
        pixels[..., number % 3] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    cp.pretrain(
        "vision/simclr", data=place / "photos", out=str(place / "run"), epochs=1, batch_size=16, tensorboard=False
    )
    return place / "run"


def test_held_out_samples_find_their_colour(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert apps.main(["image-search", "query", "--run", str(run), "--samples", "3", "-k", "4", "--out", str(out)]) == 0
    assert Image.open(out).size[0] > 400
    assert "Nearest neighbours" in capsys.readouterr().out


def test_a_file_finds_itself_first(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = run.parent / "photos" / "red" / "0.png"
    out = tmp_path / "sheet.png"
    assert apps.main(["image-search", "query", "--run", str(run), str(image), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "red/0.png 1.00" in text


def test_what_is_wrong_is_named(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    words = ["image-search", "query", "--run", str(run), "--out", str(tmp_path / "x.png")]
    for more, expected in (
        ([str(tmp_path / "absent.png")], "absent.png"),
        ([str(broken)], "broken.jpg"),
    ):
        with pytest.raises(DataError, match=expected):
            apps.main([*words, *more])
    with pytest.raises(ConfigError, match="samples: found 0"):
        apps.main([*words, "--samples", "0"])


def test_apps_are_listed_and_misspelt_ones_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert apps.main([]) == 0
    assert "image-search" in capsys.readouterr().out
    with pytest.raises(CounterpointError, match="Did you mean 'image-search'"):
        apps.main(["image-searhc"])
