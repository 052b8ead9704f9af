"""``index``: of tables, archives, folders and the run's own data; only what changed is embedded."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterpoint import apps
from counterpoint.errors import ConfigError, DataError, Interrupted
from counterpoint_apps.picture_search.searches import open_index
from counterpoint_apps.pictures import update as updating
from counterpoint_multimodal.data.examples import arrays

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def bring(run: Path, tmp_path: Path, capsys: Any) -> Callable[..., str]:
    """Index a source; what was told."""

    def index(*words: object, to: str = "index") -> str:
        capsys.readouterr()
        told = ["picture-search", "index", *map(str, words), "--run", str(run), "--index", str(tmp_path / to)]
        assert apps.main(told) == 0
        return str(capsys.readouterr().out)

    return index


def test_only_what_changed_in_a_table_is_embedded(catalogue: Path, bring: Callable[..., str], tmp_path: Path) -> None:
    assert "54 new, 0 unchanged, 0 damaged." in bring(catalogue)
    assert "0 new, 54 unchanged, 0 damaged." in bring(catalogue)
    images = catalogue.parent / "images"
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(images / "001.png")
    (images / "002.png").write_bytes(b"no picture")
    (images / "003.png").unlink()
    lines = catalogue.read_text(encoding="utf-8").splitlines()
    lines[5] = lines[5].replace("a ", "quite a ", 1)  # the caption of 004.png; the picture is as it was
    del lines[6]  # 005.png
    catalogue.write_text("\n".join([*lines, "images/none.png,a caption,circle,train"]), encoding="utf-8")
    told = bring(catalogue)
    assert "0 new, 1 changed, 1 touched, 49 unchanged, 2 removed, 3 damaged." in told
    assert "damaged: images/none.png: No such file" in told and "002.png: not an image" in told
    index = open_index(tmp_path / "index").index
    assert index.store.captions_of(["images/004.png"])["images/004.png"].startswith("quite a ")
    assert index.store.facts_of(["images/003.png", "images/002.png", "images/005.png"]) == {}


def test_an_archive_of_pictures(bring: Callable[..., str], tmp_path: Path) -> None:
    source = Path(arrays(tmp_path)["source"])
    assert "48 new" in bring(source)
    assert "0 new, 48 unchanged" in bring(source)
    searches = open_index(tmp_path / "index")
    hit = searches.some().hits[0]
    raw, kind = searches.source.raw(hit.key)
    assert kind == "image/png" and raw.startswith(b"\x89PNG") and hit.caption
    held = dict(np.load(source))
    held["text"][0, 0] = "something else"
    np.savez(source, **held)
    assert "0 new, 48 touched" in bring(source), "the file is another, its pictures are not"
    texts = searches.index.store.captions_of([hit.key for hit in searches.some().hits])
    assert all(texts.values())


def test_archives_without_captions(catalogue: Path, bring: Callable[..., str], tmp_path: Path) -> None:
    """Of some pictures, and of all of them."""
    held = dict(np.load(arrays(tmp_path)["source"]))
    held["text"][3] = ""
    np.savez(tmp_path / "some.npz", **held)
    assert "48 new, 0 unchanged, 0 damaged." in bring(tmp_path / "some.npz", to="some")
    with tarfile.open(tmp_path / "bare.tar", "w") as shard:
        for number in range(5):
            shard.add(catalogue.parent / "images" / f"{number:03d}.png", f"{number:03d}.png")
    assert "5 new, 0 unchanged, 0 damaged." in bring(tmp_path / "bare.tar")
    assert "0 new, 5 unchanged" in bring(tmp_path / "bare.tar")
    searches = open_index(tmp_path / "index")
    assert searches.index.store.captions_of(["000", "004"]) == {"000": "", "004": ""}
    assert searches.source.raw("000")[0].startswith(b"\x89PNG") and searches.name("004") == "004"
    with pytest.raises(DataError, match=r"pictures without a \.txt or \.json"):
        bring(tmp_path / "bare.tar", "--caption", "title", to="other")


def test_a_folder_with_names_and_text_files(catalogue: Path, bring: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "red").mkdir(parents=True)
    for name in ("red/red_shoe-02.png", "0001.png"):
        (folder / name).write_bytes((catalogue.parent / "images" / "000.png").read_bytes())
    (folder / "0001.txt").write_text("the first\nof them\n", encoding="utf-8")
    assert "2 new" in bring(folder)
    kept = open_index(tmp_path / "index").index.store.captions_of(["red/red_shoe-02.png", "0001.png"])
    assert kept == {"red/red_shoe-02.png": "red shoe", "0001.png": "the first · of them"}


def test_the_run_s_own_data_is_the_default(run: Path, bring: Callable[..., str]) -> None:
    assert "54 new" in bring()
    assert "54 unchanged" in bring(run.parent / "pairs.csv"), "by its path it is the same"


def test_stopped_it_goes_on(catalogue: Path, bring: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "CHUNK", 16)
    take, chunks = updating._Update._take, []

    def stopped(self: Any, *words: Any) -> None:
        if len(chunks) == 2:
            raise KeyboardInterrupt
        chunks.append(1)
        take(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(updating._Update, "_take", stopped)
        with pytest.raises(Interrupted, match=r"32 pictures are in .* goes on from there"):
            bring(catalogue)
    assert "22 new, 32 unchanged" in bring(catalogue)


def test_what_is_wrong_is_named(catalogue: Path, bring: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is nothing that plugin 'multimodal' opens"):
        bring("no-such-set")
    with pytest.raises(DataError, match="nosuch"):
        bring(catalogue, "--image", "nosuch")
    with pytest.raises(ConfigError, match="--caption: found a folder"):
        bring(catalogue.parent, "--caption", "title")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no picture in .*empty or below"):
        bring(tmp_path / "empty")
    bring(catalogue)  # the refused folder left nothing behind
    with pytest.raises(DataError, match=r"which is of data .*pairs.csv; allowed: one of .*images"):
        bring(catalogue.parent / "images")
    catalogue.unlink()
    words = ["picture-search", "search", "red", "--index", str(tmp_path / "index")]
    assert apps.main(words) == 0, "without its table the index can be searched, but not looked at"
    with pytest.raises(ConfigError, match="There is no file or folder"):
        apps.main([*words, "--sheet", str(tmp_path / "sheet.png")])
