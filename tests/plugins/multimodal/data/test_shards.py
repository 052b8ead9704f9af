"""Tar shards, sound, cut off, and otherwise damaged."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from counterpoint.errors import DataError
from counterpoint.training.data import loader
from counterpoint.types import Damaged, Sample
from counterpoint_multimodal.data import PairFolder, PairShards, examples
from counterpoint_multimodal.data.tars import expanded

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    next(examples.drawings(2, side=8)).image.save(file, "PNG")
    return file.getvalue()


def pack(place: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(place, "w") as archive:
        for name, raw in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return place


def test_the_example(tmp_path):
    arguments = examples.shards(tmp_path)
    data = PairShards(**arguments)
    assert len(data) == 48 and data.classes == ["circle", "square", "triangle"]
    assert data.name(0) == "pairs-0/0000" and data.name(24) == "pairs-1/0001"
    assert data.captions[0] == ["a small red circle", "circle in red, small"]
    assert isinstance(data[0], Sample) and data[0].data["image"].shape == (3, 40, 40)
    read = next(iter(loader(data, [[0, 24]], workers=1, fill=True)))
    assert read.data["image"].shape == (2, 3, 40, 40)
    for source in (str(tmp_path), str(tmp_path / "pairs-*.tar"), str(tmp_path / "{pairs-0,pairs-1}.tar")):
        assert PairShards.accepts(source) and PairShards(source).digest() == data.digest()
    assert len(PairShards(str(tmp_path / "pairs-0.tar"))) == 24
    assert PairShards(str(tmp_path / "pairs-0.tar")).name(0) == "0000"


def test_patterns(tmp_path):
    for number in range(8, 12):
        (tmp_path / f"a-{number:03d}.tar").touch()
    (tmp_path / "a-009.txt").touch()
    assert [place.name for place in expanded(str(tmp_path / "a-{009..010}.tar"))] == ["a-009.tar", "a-010.tar"]
    assert len(expanded(str(tmp_path))) == 4 and len(expanded(str(tmp_path / "*"))) == 4
    assert expanded(str(tmp_path / "b-{0..3}.tar")) == [] and expanded("no-such-source") == []


def test_fields_of_json(tmp_path, png):
    fields = {"caption": "from json", "title": "a title", "kind": "shoe", "split": "train"}
    members = {"x/1.png": png, "x/1.json": json.dumps(fields).encode(), "x/1.txt": b"one\n\ntwo\n", "x/1.cls": b"7"}
    place = str(pack(tmp_path / "a.tar", members))
    data = PairShards(place)
    assert data.captions == [["one", "two"]] and data.classes == ["7"] and data.name(0) == "x/1"
    data = PairShards(place, caption="caption,title", label="kind")
    assert data.captions == [["from json", "a title"]] and data.classes == ["shoe"]
    with pytest.raises(DataError, match=r"caption: found 'titel'; .*Did you mean 'title'\?"):
        PairShards(place, caption="titel")


def test_damaged_members_are_counted(tmp_path, png):
    members = {
        **{"a.png": png, "a.txt": b"a shoe", "b.png": b"no picture", "b.txt": b"a hat", "c.txt": b"no picture at all"},
        **{"d.png": png, "d.json": b"{", "e.png": png, "e.webp": png, "e.txt": "größer".encode()},
    }
    data = PairShards(str(pack(tmp_path / "a.tar", members)))
    assert [type(data[index]) for index in range(4)] == [Sample, Damaged, Damaged, Sample]
    assert data[1].reason == "not an image of a known format" and data[2].reason == "no caption"
    told = " ".join(data.notes)
    assert "1 keys without a picture" in told and "1 JSON members" in told and "1 second pictures" in told
    batch = data.batch(range(4))
    assert len(batch) == 2 and [one.name for one in batch.damaged] == ["b", "d"]


def test_an_archive_that_is_cut_off(tmp_path, png):
    place = pack(tmp_path / "a.tar", {"a.txt": b"a shoe", "a.png": png, "b.txt": b"a hat", "b.png": png * 40})
    whole = PairShards(str(place)).digest()
    with tarfile.open(place) as archive:
        begin = archive.getmember("b.png").offset_data
    place.write_bytes(place.read_bytes()[: begin + 100])
    data = PairShards(str(place))
    assert len(data) == 2 and isinstance(data[0], Sample) and "cut off" in " ".join(data.notes)
    assert isinstance(data[1], Damaged) and "cut off after" in data[1].reason
    assert data.digest() != whole
    place.unlink()
    assert isinstance(data[0], Damaged)


def test_official_shards(tmp_path, png):
    for name in ("train-0", "train-1", "val-0", "test-0"):
        pack(tmp_path / f"{name}.tar", {f"{name}.png": png, f"{name}.txt": name.encode()})
    parts = PairShards(str(tmp_path / "{train-0,train-1,val-0,test-0}.tar")).splits()
    assert [rows.tolist() for rows in parts.values()] == [[0, 1], [2], [3]]


def test_nothing_to_open(tmp_path, png):
    with pytest.raises(DataError, match=r"no archive 'none-\{0\.\.3\}.tar'"):
        PairShards("none-{0..3}.tar")
    with pytest.raises(DataError, match=r"found txt in .*; allowed: pictures ending in"):
        PairShards(str(pack(tmp_path / "a.tar", {"a.txt": b"a shoe"})))
    with pytest.raises(DataError, match=r"pictures ending in jpg"):
        PairShards(str(pack(tmp_path / "b.tar", {"a.txt": b"a shoe", "a.png": png})), image="jpg")
    with pytest.raises(DataError, match=r"without a .txt or .json beside them"):
        PairShards(str(pack(tmp_path / "c.tar", {"a.png": png})))
    with tarfile.open(tmp_path / "d.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(DataError, match=r"d.tar: .*A compressed one \(.tar.gz\) must be unpacked"):
        PairShards(str(tmp_path / "d.tar"))
    assert not PairShards.accepts(str(tmp_path / "none.tar")) and PairFolder.accepts(str(tmp_path))
