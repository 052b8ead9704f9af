"""What lies below a folder, and what its subfolders say."""

from __future__ import annotations

import pytest

from counterpoint.sources import folders

pytestmark = pytest.mark.unit


def test_walk_takes_what_is_wanted_once(tmp_path):
    for name in ("a.png", "b/C.PNG", "b/d.txt", ".e.png", ".f/g.png", "b/h/i.png", "j.png/k.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = folders.walk(tmp_path, lambda name: folders.ends(name, frozenset({".png"})))
    assert sorted(found) == ["a.png", "b/C.PNG", "b/h/i.png"]  # a folder that is called like a file is none


def test_walk_tells_what_may_not_be_looked_at(tmp_path, monkeypatch):
    (tmp_path / "shut").mkdir()
    look = folders.os.scandir

    def refuse(place):
        if place.name == "shut":
            raise PermissionError
        return look(place)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    told: list[str] = []
    assert list(folders.walk(tmp_path, lambda name: "." in name, told.append)) == [] and told == ["shut/"]
    with pytest.raises(OSError, match="nowhere"):
        list(folders.walk(tmp_path / "nowhere", lambda _: True))


def test_parts_and_classes():
    paths = ["train/cat/a.png", "train/dog/b.png", "Valid/cat/c.png", "test/d.png"]
    assert folders.parts(paths).tolist() == [0, 0, 1, 2]
    labels, names = folders.classes(paths, below=True)
    assert labels.tolist() == [0, 1, 0, -1] and names == ["cat", "dog"]
    assert folders.parts(["train/a.png", "b.png"]) is None and folders.parts(["val/a.png", "test/b.png"]) is None
    assert folders.classes(["a/x.png", "a/y.png"], below=False) == (None, None)
    assert folders.only(["a/x.png", "a/y.png", "z.png"], below=False) == "a"
    assert folders.only(["train/a/x.png", "test/a/y.png"], below=True) == "a"
    assert folders.only(paths, below=True) is None and folders.only(["x.png"], below=False) is None


def test_fingerprints_change_with_the_files(tmp_path):
    names = ["a", "b", "c"]
    for name in names[:2]:
        (tmp_path / name).write_text(name)
    before = list(folders.fingerprints(tmp_path, names))
    assert len(set(before)) == 3 and before == list(folders.fingerprints(tmp_path, names))
    (tmp_path / "a").write_text("x")
    after = list(folders.fingerprints(tmp_path, names))
    assert [one != other for one, other in zip(before, after)] == [True, False, False]


def test_of_many_files_some_are_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "DIGEST_FILES", 2)
    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / name).write_text(name)
    before = list(folders.fingerprints(tmp_path, names))
    for name in names:
        (tmp_path / name).write_text("x")
    changed = [one != other for one, other in zip(before, folders.fingerprints(tmp_path, names))]
    assert changed == [True, False, True]
    (tmp_path / "b").write_text("longer")
    assert list(folders.fingerprints(tmp_path, names))[1] != before[1]
