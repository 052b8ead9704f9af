"""``prompts`` and ``classify --prompts``: words learnt from a few labels, measured, kept, used and refused."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from counterpoint import apps
from counterpoint.errors import ConfigError, DataError, Interrupted, RunError
from counterpoint_multimodal.data.examples import COLOURS
from counterpoint_multimodal.tasks.prompts.training import Training

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Call = Callable[..., str]
QUICK = ("--epochs", "6", "--shots", "3")


@pytest.fixture
def labelled(catalogue: Path) -> Path:
    """Folders of drawings by their colour, whose names would be the same caption."""
    place = catalogue.parent / "labelled"
    for line in catalogue.read_text(encoding="utf-8").splitlines()[1:]:
        path, caption = line.split(",")[:2]
        colour = next(name for name in COLOURS if name in caption)
        (place / colour).mkdir(parents=True, exist_ok=True)
        shutil.copy(catalogue.parent / path, place / colour / f"{colour}-{Path(path).stem}.png")
    return place


@pytest.fixture
def learn(run: Path, labelled: Path, tmp_path: Path, capsys: Any) -> Call:
    """Learn prompts; what was printed."""

    def call(*words: object) -> str:
        capsys.readouterr()
        told = ["picture-search", "prompts", "--run", str(run), "--out", str(tmp_path / "prompts"), *QUICK]
        assert apps.main([*told, *map(str, words)]) == 0
        printed = capsys.readouterr()
        return str(printed.out + printed.err)

    return call


def found(printed: str) -> dict[str, str]:
    return {row["path"]: row["class"] for row in csv.DictReader(io.StringIO(printed)) if row["rank"] == "1"}


@pytest.mark.parametrize("method", ["gopro", "coop"])
def test_prompts_are_learnt_measured_and_used(
    method: str, learn: Call, app: Call, labelled: Path, tmp_path: Path
) -> None:
    printed = learn(labelled, "--method", method)
    assert f"Learnt from 18 pictures of 6 classes ({method}, 6 epochs)." in printed
    assert "other pictures" in printed and "by hand-written ones." in printed
    assert {path.name for path in (tmp_path / "prompts").iterdir()} == {"prompts.json", "prompts.safetensors"}
    kept = ("--prompts", tmp_path / "prompts", "--csv", "-k", 1)
    colours = found(app("classify", *kept, "--sheet", tmp_path / "sheet.png"))
    assert set(colours.values()) <= set(COLOURS) and len(colours) == 54
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    pictures = found(app("classify", labelled, *kept))
    right = sum(Path(path).parent.name == colour for path, colour in pictures.items())
    assert right > 18, f"{right} of 54 by learnt prompts, 9 by chance"
    assert set(found(app("classify", labelled / "red", "--classes", "pink,white", *kept)).values()) <= {"pink", "white"}


def test_labels_of_a_table_and_of_the_run(learn: Call, catalogue: Path, tmp_path: Path) -> None:
    text = catalogue.read_text(encoding="utf-8").replace(",label,", ",kind_of_shape,", 1)
    catalogue.write_text(text, encoding="utf-8")
    assert "of 3 classes" in learn(catalogue, "--label", "kind_of_shape", "--method", "coop")
    with pytest.raises(ConfigError, match=r"--out: found prompts in .*prompts; .* or --overwrite"):
        learn(catalogue)
    assert "of 3 classes" in learn("--method", "coop", "--overwrite")


def test_damaged_pictures_and_lost_ones_are_told(
    learn: Call, app: Call, labelled: Path, catalogue: Path, tmp_path: Path
) -> None:
    for path in sorted((labelled / "red").iterdir())[1:]:
        path.write_bytes(b"no picture")
    printed = learn(labelled, "--method", "coop")
    assert "left out: " in printed and "pictures that cannot be read" in printed
    (catalogue.parent / "images" / "000.png").unlink()
    printed = app("classify", "--prompts", tmp_path / "prompts", "--csv")
    assert "left out: images/000.png: no longer in" in printed


def test_stopped_nothing_is_written(
    learn: Call, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(labelled, "--method", "coop")
    before = {path: path.read_bytes() for path in (tmp_path / "prompts").iterdir()}

    def stopped(self: Training, *others: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", stopped)
    with pytest.raises(Interrupted, match="Stopped after 0 of 6 epochs; nothing was written"):
        learn(labelled, "--overwrite")
    assert before == {path: path.read_bytes() for path in (tmp_path / "prompts").iterdir()}


def test_what_is_wrong_is_named(learn: Call, app: Call, labelled: Path, catalogue: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    Image.new("RGB", (8, 8)).save(bare / "1.png")
    with pytest.raises(DataError, match=r"labels: found none in .*bare; .*--label COLUMN"):
        learn(bare)
    with pytest.raises(ConfigError, match="--label: found a folder"):
        learn(labelled, "--label", "kind")
    with pytest.raises(DataError, match=r"label: found 'colour'"):
        learn(catalogue, "--label", "colour")
    with pytest.raises(ConfigError, match="shots: found 0"):
        learn(labelled, "--shots", 0)
    with pytest.raises(ConfigError, match=r"--classes: found none; .* or --prompts FOLDER"):
        app("classify")
    with pytest.raises(RunError, match=r"--prompts: found no prompts in .*bare; .*picture-search prompts"):
        app("classify", "--prompts", bare)
    with pytest.raises(ConfigError, match=r"--template: found 'a {}'; allowed: none beside --prompts"):
        app("classify", "--prompts", bare, "--template", "a {}")
