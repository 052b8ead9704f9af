"""Tables of pictures and captions, sound and otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from counterpoint.errors import ConfigError, DataError
from counterpoint.types import Damaged, Sample
from counterpoint_multimodal.data import PairTable, examples
from counterpoint_multimodal.data.captions import decode

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a.png to f.png."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, one in zip("abcdef", examples.drawings(6, side=16)):
        one.image.save(folder / f"{name}.png")
    return folder


@pytest.fixture
def table(pictures: Path, tmp_path: Path):
    """Writes a table beside the pictures' folder and opens it."""

    def opened(text: str, name: str = "pairs.csv", encoding: str = "utf-8", **options) -> PairTable:
        (tmp_path / name).write_text(text, encoding=encoding)
        return PairTable(str(tmp_path / name), root=str(pictures), **options)

    return opened


def test_the_example(tmp_path):
    data = PairTable(**examples.toy(tmp_path, 30))
    assert len(data) == 30 and data.classes == ["circle", "square", "triangle"] and not data.in_memory
    sample = data[0]
    assert isinstance(sample, Sample) and sample.data["image"].shape == (3, 40, 40)
    assert data.captions[0] == ["a small red circle", "circle in red, small"] and data.captions[1][1:] == []
    batch = data.batch([0, 1, 29])
    assert decode(batch.data["text"]) == [data.captions[0], data.captions[1], data.captions[29]]
    assert data.captions[29] == data.captions[0][:1] and batch.content[0] == batch.content[2] != batch.content[1]
    assert data.groups()[29] == data.groups()[0] == 0
    assert data.columns["label"][:2] == ["circle", "square"]
    assert sum(map(len, data.splits().values())) == 30 and not any("val and test" in note for note in data.notes)
    assert data.digest() == PairTable(**examples.toy(tmp_path, 30)).digest()


def test_every_format_says_the_same(table, tmp_path, pictures):
    rows = [("a.png", "a shoe", "x"), ("b.png", 'a "hat", red\nand blue', "y"), ("c.png", "赤い靴", "x")]
    quoted = [[f'"{field.replace(chr(34), chr(34) * 2)}"' for field in row] for row in rows]
    csv = table("\n".join(",".join(row) for row in [["path", "caption", "class"], *quoted]))
    assert csv.captions == [["a shoe"], ['a "hat", red and blue'], ["赤い靴"]] and csv.labels.tolist() == [0, 1, 0]
    tsv = table("\n".join("\t".join(row) for row in [["path", "caption", "class"], *quoted]), "pairs.tsv")
    semicolons = table("\n".join(";".join(row) for row in [["path", "caption", "class"], *quoted]), "semicolons.csv")
    lines = [json.dumps(dict(zip(("path", "caption", "class"), row))) for row in rows]
    jsonl = table("\n".join(lines), "pairs.jsonl")
    columns = dict(zip(("path", "caption", "class"), zip(*rows)))
    columns = {key: list(values) for key, values in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "p.parquet")
    parquet = PairTable(str(tmp_path / "p.parquet"), root=str(pictures))
    for other in (tsv, semicolons, jsonl, parquet):
        assert other.captions == csv.captions and other.digest() == csv.digest() and other.classes == ["x", "y"]


def test_several_captions(table):
    assert table("image,caption,caption_2\na.png,one,two\nb.png,three,").captions == [["one", "two"], ["three"]]
    assert table("image,x,y\na.png,one,two", caption="y, x").captions == [["two", "one"]]
    written = 'image,text\na.png,"[""one"", ""two""]"\nb.png,[sic] a shoe'
    assert table(written).captions == [["one", "two"], ["[sic] a shoe"]]
    line = {"image": "a.png", "captions": ["one", None, "One", "two"]}
    assert table(json.dumps(line), "p.jsonl").captions == [["one", "two"]]  # each once
    assert table("image,text\na.png,A Shoe", lower=True).captions == [["a shoe"]]


def test_rows_of_one_picture_are_one_sample(table):
    data = table("image,caption,label\na.png,one,x\nb.png,other,y\na.png,two,z\na.png,one,x")
    assert data.captions == [["one", "two"], ["other"]] and data.labels.tolist() == [0, 1]
    assert data.columns["caption"] == ["one", "other"]
    assert any("Several rows of one picture: 2" in note for note in data.notes)
    with pytest.raises(DataError, match=r"split: found 'a.png' in both train and test"):
        table("image,caption,split\na.png,one,train\na.png,two,test")


def test_one_caption_of_many_pictures_is_nobodys_negative(table):
    data = table("image,caption\na.png,Shoe\nb.png,hat\nc.png,shoe\nd.png,bag")
    content = data.batch(range(4)).content
    assert content[0] == content[2] and len(set(content.tolist())) == 3
    assert data.groups().tolist() == [0, 1, 0, 3]
    assert any("Sharing a caption or a picture: 2 of 4" in note for note in data.notes)


def test_missing_and_damaged_pictures_and_empty_captions(table, pictures):
    (pictures / "bad.png").write_bytes(b"no picture")
    data = table("image,caption\na.png,one\nnone.png,two\nbad.png,three\nb.png,\nc.png,  \n,six\nd.png,seven")
    found = [data[index] for index in range(len(data))]
    reasons = {one.name: one.reason for one in found if isinstance(one, Damaged)}
    assert reasons == {
        "none.png": "No such file or directory",
        "bad.png": "not an image of a known format",
        "b.png": "no caption",
        "c.png": "no caption",
    }
    assert all(captions for captions in data.captions) and data.captions[3] == [""]
    assert any("Without a caption: 2 of 6" in note for note in data.notes)
    assert any("Left out: 1 rows without a path" in note for note in data.notes)
    batch = data.batch(range(len(data)))
    assert len(batch) == 2 and len(batch.damaged) == 4 and batch.data["text"].shape[0] == 2
    assert len(data.batch([1, 2])) == 0


def test_long_captions_and_other_scripts(table):
    data = table(f"image,caption\na.png,{'word ' * 2_000}\nb.png,Ελληνικά και 日本語\nc.png,{'字' * 10_000}")
    assert [len(captions[0]) <= 2_000 for captions in data.captions] == [True] * 3
    assert any("Cut at 2,000 characters: 2 captions" in note for note in data.notes)
    assert decode(data.batch([0, 1, 2]).data["text"]) == data.captions


def test_a_batch_of_one_and_of_none(table):
    data = table("image,caption\na.png,one\nb.png,two")
    assert data.batch([1]).data["text"].shape == (1, 3) and data.batch([1]).data["image"].shape == (1, 3, 16, 16)
    assert len(data.batch([])) == 0
    with pytest.raises(IndexError):
        data[2]


def test_official_parts(table):
    rows = [("a", "train"), ("b", "train"), ("c", "test"), ("d", "val"), ("e", "Test")]
    data = table("image,caption,split\n" + "\n".join(f"{name}.png,{name},{part}" for name, part in rows))
    assert [part.tolist() for part in data.splits().values()] == [[0, 1], [3], [2, 4]]
    leaky = table("image,caption,split\na.png,shoe,train\nb.png,shoe,test\nc.png,hat,val")
    assert any("In val and test: 1 samples share one with train" in note for note in leaky.notes)
    with pytest.raises(DataError, match=r"split: found 'dev'"):
        table("image,caption,split\na.png,shoe,dev")


def test_drawn_parts_keep_groups_together(tmp_path):
    source = Path(examples.toy(tmp_path, 120, side=8)["source"])
    text = source.read_text(encoding="utf-8").replace(",split", ",part")
    source.write_text(text, encoding="utf-8")
    data = PairTable(str(source))
    parts = data.splits()
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(120))
    groups = [set(data.groups()[rows].tolist()) for rows in parts.values()]
    assert all(groups) and not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("caption,size\na shoe,3", {}, r"image: found pairs.csv with caption, size; .*Name it: --dataset.image NAME\."),
        (
            "image,size\na.png,3",
            {},
            r"caption: found pairs.csv with size; allowed: caption, .*Name it: --dataset.caption NAME\.",
        ),
        ("image,caption\na.png,x", {"caption": "captoin"}, r"caption: found 'captoin'; .*Did you mean 'caption'\?"),
        ("image,caption\na.png,x", {"image": "path"}, r"image: found 'path'"),
        ("image,caption\na.png,x", {"label": "kind"}, r"label: found 'kind'"),
        ("image,caption\nx.png,x", {}, r"image: found no file 'x.png' in .*relative to: root=\.\.\."),
        ("image,caption\n,x", {}, r"image: found no path in column 'image'"),
        ("image,caption\n", {}, r"source: found no row in pairs.csv"),
        ("", {}, r"source: found pairs.csv: Empty CSV"),
    ],
)
def test_tables_that_cannot_be_used(table, text, options, error):
    with pytest.raises(DataError, match=error):
        table(text, **options)


def test_other_things_that_cannot_be_used(table, tmp_path, pictures):
    with pytest.raises(ConfigError, match=r"max_side: found 0"):
        table("image,caption\na.png,x", max_side=0)
    with pytest.raises(DataError, match=r"no table '.*none.csv'"):
        PairTable(str(tmp_path / "none.csv"))
    nested = {"image": {"bytes": "x"}, "caption": "y"}
    with pytest.raises(DataError, match=r"image: found dict in column 'image'; allowed: paths of files"):
        table(json.dumps(nested), "p.jsonl")


def test_damaged_lines_are_counted(table):
    data = table('{"image": "a.png", "caption": "x"}\n{"image": \n[1]\n\n{"image": "b.png", "text": "y"}', "p.jsonl")
    assert len(data) == 2 and data.captions == [["x"], [""]]
    assert any("Left out: 2 lines of p.jsonl" in note for note in data.notes)
    data = table("image,caption\na.png,x\nb.png,too,many\nc.png,z")
    assert data.captions == [["x"], ["z"]] and any("Left out: 1 rows" in note for note in data.notes)


def test_other_encodings(table):
    assert table("image,caption\na.png,größer", encoding="utf-16").captions == [["größer"]]
    data = table("image,caption\na.png,größer", encoding="cp1252")
    assert data.captions == [["größer"]] and any("Read as cp1252" in note for note in data.notes)
    assert table("image,caption\na.png,größer", encoding="utf-8-sig").captions == [["größer"]]


def test_max_side_and_a_changed_picture(table, tmp_path, pictures):
    assert table("image,caption\na.png,x", max_side=8)[0].data["image"].shape == (3, 8, 8)
    data = table("image,caption\nf.png,x")
    before = data.digest()
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    from torchvision.io import write_png

    write_png(image, str(pictures / "f.png"))
    assert data.digest() != before
