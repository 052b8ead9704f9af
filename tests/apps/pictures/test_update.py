"""``index``: only what changed is embedded, what is gone disappears, and a bad day leaves a good index."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from counterpoint import apps
from counterpoint.errors import ConfigError, DataError, Interrupted
from counterpoint_apps.pictures import sources
from counterpoint_apps.pictures import update as updating
from counterpoint_apps.pictures.encoder import PictureEncoder
from counterpoint_apps.pictures.index import LOCK, PictureIndex, locked
from counterpoint_vision.data import folder as listing

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def picture(path: Path, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_only_what_changed_is_embedded(
    photos: Path, index: Path, update: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    plain = PictureEncoder.embed

    def counted(self: PictureEncoder, dataset: Any, *rest: Any, **more: Any) -> Any:
        embedded.append(len(dataset))
        return plain(self, dataset, *rest, **more)

    monkeypatch.setattr(PictureEncoder, "embed", counted)
    done = update(photos)
    assert (done.new, done.unchanged, sum(embedded)) == (0, 60, 0)
    picture(photos / "red" / "new.png", 1)
    picture(photos / "red" / "0.png", 2)
    os.utime(photos / "red" / "3.png", (1, 1))  # another time, the same content
    (photos / "red" / "6.png").unlink()
    (photos / "broken.jpg").write_bytes(b"no picture")
    before = vector(index, "red/0.png")
    done = update(photos)
    assert (done.new, done.changed, done.touched, done.removed, done.unchanged) == (1, 1, 1, 1, 57)
    assert sum(embedded) == 3, "the new one, the changed one and the damaged one"
    assert list(done.damaged) == ["broken.jpg"]
    assert not np.allclose(before, vector(index, "red/0.png"))
    assert len(PictureIndex(index).store) == 60
    assert vector(index, "red/6.png") is None
    embedded.clear()
    done = update(photos)
    assert (done.new, done.touched, done.unchanged, len(done.damaged), sum(embedded)) == (0, 0, 60, 1, 0)
    (photos / "red" / "9.png").write_bytes(b"torn")  # was a picture
    done = update(photos)
    assert len(done.damaged) == 2 and vector(index, "red/9.png") is None
    assert "red/9.png" in (index / "damaged.csv").read_text()


def vector(index: Path, key: str) -> Any:
    return PictureIndex(index).store.vectors_of([key]).get(key)


def test_the_command_tells_what_it_did(photos: Path, run: Path, tmp_path: Path, capsys: Any) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    words = ["image-search", "index", str(photos), "--run", str(run), "--index", str(tmp_path / "i")]
    assert apps.main(words) == 0
    told = capsys.readouterr().out
    assert "60 new, 0 unchanged, 1 damaged." in told
    assert "images/s" in told
    assert "damaged: broken.jpg: not an image of a known format" in told
    assert "exact search over 60 pictures" in told
    assert apps.main([*words, "--exact-below", "20"]) == 0
    assert "approximate search (IVF) over 60 pictures" in capsys.readouterr().out
    for more, expected in (
        (["--encoder", "timm:resnet18"], "--run, --encoder: found both"),
        (["--workers", "-1"], "workers: found -1"),
    ):
        with pytest.raises(ConfigError, match=expected):
            apps.main([*words, *more])
    with pytest.raises(ConfigError, match="--weights: found none"):
        apps.main(["image-search", "index", str(photos), "--encoder", "timm:resnet18"])


def test_a_network_of_timm_with_its_weights(photos: Path, tmp_path: Path, capsys: Any) -> None:
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "weights.safetensors"
    name = "test_resnet.r160_in1k"
    save_file(timm.create_model(name, num_classes=0).state_dict(), weights)
    words = ["--index", str(tmp_path / "i")]
    apps.main(["image-search", "index", str(photos), "--encoder", f"timm:{name}", "--weights", str(weights), *words])
    apps.main(["image-search", "query", str(photos / "red" / "0.png"), "-k", "2", "--csv", *words])
    assert "1,1.0000,red/0.png" in capsys.readouterr().out
    weights.unlink()
    with pytest.raises(DataError, match=r"weights: found no file"):
        apps.main(["image-search", "query", str(photos / "red" / "0.png"), *words])


KILLED = """
import os, signal, sys
from pathlib import Path
from counterpoint_apps.image_search.encoder import ImageEncoder
from counterpoint_apps.pictures import update as updating
from counterpoint_apps.pictures.sources import Folder
updating.CHUNK = 16
take, chunks = updating._Update._take, []
def dying(self, *words):
    if len(chunks) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    chunks.append(1)
    take(self, *words)
updating._Update._take = dying
photos, run, index = map(Path, sys.argv[1:])
updating.update(Folder(photos), ImageEncoder.of_run(run), index)
"""


def test_killed_in_the_middle_it_goes_on(photos: Path, run: Path, tmp_path: Path, update: Callable[..., Any]) -> None:
    index = tmp_path / "index"
    died = subprocess.run([sys.executable, "-c", KILLED, str(photos), str(run), str(index)])
    assert died.returncode == -signal.SIGKILL
    assert len(PictureIndex(index).store) == 32
    done = update(photos)
    assert (done.new, done.unchanged) == (28, 32)
    assert len(PictureIndex(index).store) == 60


def test_interrupted_it_keeps_what_it_has(
    photos: Path, tmp_path: Path, update: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
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
            update(photos)
    assert update(photos).new == 28


def test_folders_that_cannot_be_used(tmp_path: Path, photos: Path, index: Path, update: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="folder: found no folder"):
        update(tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no picture in .*empty or below"):
        update(empty, tmp_path / "other")
    with pytest.raises(DataError, match=r"which is of .*photos; allowed: one of .*empty"):
        update(empty)
    for colour in photos.iterdir():
        colour.rename(tmp_path / colour.name)  # as if a disk were not mounted
    with pytest.raises(DataError, match=r"no picture.*The 60 pictures in the index are kept"):
        update(photos)
    assert len(PictureIndex(index).store) == 60


def test_what_lies_in_an_unreadable_folder_is_kept(
    photos: Path, index: Path, update: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def denied(path: Any) -> Any:
        if str(path).rstrip("/").endswith("green"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path)

    monkeypatch.setattr(listing.os, "scandir", denied)
    done = update(photos)
    assert (done.unreadable, done.removed, done.unchanged) == (["green/"], 0, 40)
    assert any("cannot be read: green/" in line for line in updating.told(done, PictureIndex(index)))

    def all_denied(path: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sources.os, "scandir", all_denied)
    with pytest.raises(DataError, match="photos: Permission denied; allowed: a folder that can be read"):
        update(photos)


def test_loops_of_links_and_odd_names(photos: Path, tmp_path: Path, update: Callable[..., Any]) -> None:
    (photos / "loop").symlink_to(photos, target_is_directory=True)
    (photos / "self").symlink_to(photos / "self")
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    picture(photos / "it's; DROP 100%.png", 5)
    Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png")).write_bytes((photos / "red" / "0.png").read_bytes())
    done = update(photos)
    assert done.new == 61
    assert done.damaged["gone.png"][2] == "No such file or directory"
    assert "not UTF-8" in done.damaged["caf\\udce9.png"][2]
    assert vector(tmp_path / "index", "it's; DROP 100%.png") is not None
    done = update(photos)
    assert (done.new, done.unchanged, len(done.damaged)) == (0, 61, 2)


def test_the_listing_is_a_stream(tmp_path: Path) -> None:
    """The first path comes before the folder is read to its end, and the ledger takes 25 bytes a file."""
    for number in range(3_000):
        (tmp_path / f"{number}.jpg").touch()
    paths = listing.scan(tmp_path)
    first = next(paths)
    assert first.endswith(".jpg")
    import tracemalloc

    tracemalloc.start()
    read = sum(1 for _ in paths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == 2_999
    assert peak < 3_000 * 60, "a list of the entries would take some 300 bytes each"


def test_two_indexers_at_once(photos: Path, index: Path, update: Callable[..., Any]) -> None:
    with locked(index), pytest.raises(DataError, match=r"another process is writing.*Wait until it is done"):
        update(photos)
    assert (index / LOCK).exists()
    assert update(photos).unchanged == 60


def test_an_index_of_another_encoder_is_refused(
    photos: Path, index: Path, run: Path, tmp_path: Path, update: Callable[..., Any]
) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(run, other)
    weights = other / "encoder" / "model.safetensors"
    save_file(
        {name: np.asarray(value * 1.01).astype(value.dtype) for name, value in load_file(weights).items()}, weights
    )
    before = len(PictureIndex(index).store)
    for words in (["index", str(photos)], ["query", str(photos / "red" / "0.png")]):
        with pytest.raises(DataError, match=r"made by another encoder.*Use --run .*--rebuild"):
            apps.main(["image-search", *words, "--run", str(other), "--index", str(index)])
    assert len(PictureIndex(index).store) == before
    words = ["image-search", "index", str(photos), "--run", str(other), "--index", str(index), "--rebuild"]
    assert apps.main(words) == 0
    shutil.copytree(other, tmp_path / "moved")
    shutil.rmtree(other)
    with pytest.raises(Exception, match="is no run directory"):
        apps.main(["image-search", "query", str(photos / "red" / "0.png"), "--index", str(index)])
    words = ["--index", str(index), "--run", str(tmp_path / "moved")]
    assert apps.main(["image-search", "query", str(photos / "red" / "0.png"), *words]) == 0


@pytest.mark.parametrize("part", ["index.json", "vectors", "manifest", "everything"])
def test_a_damaged_index_says_so(part: str, photos: Path, index: Path, update: Callable[..., Any]) -> None:
    table = index / "items.lance"
    hurt = {
        "index.json": [index / "index.json"],
        "vectors": list((table / "data").iterdir()),
        "manifest": [path for path in (table / "_versions").iterdir() if path.is_file()],
        "everything": [],
    }[part]
    for path in hurt:
        path.write_bytes(path.read_bytes()[:40])
    if part == "everything":
        import shutil

        shutil.rmtree(table)
    with pytest.raises(DataError, match="--rebuild"):
        apps.main(["image-search", "query", str(photos / "red" / "0.png"), "--index", str(index)])
    with pytest.raises(DataError, match="--rebuild"):
        update(photos)
    assert update(photos, rebuild=True).new == 60


def test_a_full_disk(
    photos: Path, tiny_disk: Path, update: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tiny_disk / "index"
    monkeypatch.setattr(updating, "CHUNK", 16)
    assert update(photos, index).new == 60
    for number in range(200):
        picture(photos / f"more-{number}.png", number)
    filler = tiny_disk / "filler"
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError):
        while True:
            stream.write(b"0" * 4096)
    with pytest.raises(DataError, match=r"the disk is full.*goes on"):
        update(photos, index)
    assert len(PictureIndex(index).store) >= 60, "what was written before can be searched"
    query = ["image-search", "query", str(photos / "red" / "0.png"), "--index", str(index)]
    assert apps.main(query) == 0
    filler.unlink()
    done = update(photos, index)
    assert done.new + done.unchanged == 260


def test_a_place_that_is_something_else(photos: Path, tmp_path: Path, update: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="which holds other things"):
        update(photos, photos)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="index: found"):
        update(photos, tmp_path / "file")


def test_help_is_quick_and_shows_examples(capsys: Any) -> None:
    for verb in ("index", "query", "duplicates", "serve"):
        with pytest.raises(SystemExit):
            apps.main(["image-search", verb, "--help"])
        assert f"counterpoint app image-search {verb}" in capsys.readouterr().out.split("examples:")[1]
    heavy = "[m for m in sys.modules if m in ('torch', 'lancedb', 'gradio')]"
    code = f"import sys; from counterpoint.apps import main; main([]); print({heavy})"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert time.perf_counter() - start < 5, "far more than it takes, for busy machines"
