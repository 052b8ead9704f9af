"""``query --run --samples``: held-out samples of the run's own data, without an index."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from counterpoint import apps
from counterpoint.errors import ConfigError, CounterpointError

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_held_out_samples_find_their_colour(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert apps.main(["image-search", "query", "--run", str(run), "--samples", "3", "-k", "4", "--out", str(out)]) == 0
    assert Image.open(out).size[0] > 400
    assert "Nearest neighbours" in capsys.readouterr().out


def test_what_is_wrong_is_named(run: Path, tmp_path: Path) -> None:
    words = ["image-search", "query", "--run", str(run)]
    with pytest.raises(ConfigError, match="samples: found 0"):
        apps.main([*words, "--samples", "0"])
    with pytest.raises(ConfigError, match="k: found 0"):
        apps.main([*words, "-k", "0"])
    with pytest.raises(ConfigError, match="--samples: found no --run"):
        apps.main([*words, "--samples", "2", "some.png"])


def test_apps_are_listed_and_misspelt_ones_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert apps.main([]) == 0
    assert "image-search" in capsys.readouterr().out
    with pytest.raises(CounterpointError, match="Did you mean 'image-search'"):
        apps.main(["image-searhc"])
