"""Nothing half-written stays, nothing outside is reached."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from counterpoint.errors import RunError, TrainingError
from counterpoint.files import atomic, inside, require_disk, write_text

pytestmark = pytest.mark.unit


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "new")
    write_text(tmp_path / "deep" / "a.txt", "newer")
    assert (tmp_path / "deep" / "a.txt").read_text() == "newer"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_paths_cannot_leave_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="leads outside"):
        inside(tmp_path, name)


def test_links_cannot_leave_the_run_either(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "link").symlink_to(tmp_path)
    with pytest.raises(RunError, match="leads outside"):
        inside(run, "link/secret")
    assert inside(run, "encoder/model.safetensors") == (run / "encoder" / "model.safetensors").resolve()


def test_a_full_disk_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10 * 2**20))
    require_disk(tmp_path / "not" / "there", 9 * 2**20)
    with pytest.raises(TrainingError, match=r"11 MiB are needed.*10 MiB are free"):
        require_disk(tmp_path / "not" / "there", 11 * 2**20)
