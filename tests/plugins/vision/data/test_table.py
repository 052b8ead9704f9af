"""Tables of image paths."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from counterpoint.errors import DataError
from counterpoint.training.answers import known
from counterpoint.types import Damaged, Sample
from counterpoint_vision.data import ImageTable

pytestmark = pytest.mark.unit


@pytest.fixture
def table(tmp_path, save):
    """Write a table of the given text beside two images."""
    save("pics/a.png")
    save("pics/b.png")

    def write(text: str, name: str = "table.csv") -> str:
        place = tmp_path / name
        place.write_text(text)
        return str(place)

    return write


def test_paths_are_relative_to_the_table_and_labels_are_numbered_in_order(table):
    data = ImageTable(table("File,Category\npics/b.png,dog\npics/a.png,cat\npics/a.png,\n"))
    assert data.classes == ["cat", "dog"] and data.labels.tolist() == [1, 0, -1]
    assert [data[i].label for i in range(3)] == [1, 0, None]
    assert data[1].content == data[2].content != data[0].content


def test_number_labels_are_sorted_as_numbers(table):
    data = ImageTable(table("path,label\npics/a.png,10\npics/b.png,2\n"))
    assert data.classes == ["2", "10"] and data.labels.tolist() == [1, 0]


def test_missing_files_are_damaged(table):
    data = ImageTable(table("path\npics/a.png\nnot/here.png\n\n"))
    assert isinstance(data[0], Sample)
    assert isinstance(data[1], Damaged) and data[1].reason == "No such file or directory"


def test_tsv_and_parquet_read_alike(table, tmp_path):
    text = table("image\tother\npics/a.png\t1\n", "t.tsv")
    place = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"image": ["pics/a.png"], "other": [1]}), place)
    for source in (text, str(place)):
        data = ImageTable(source)
        assert data.paths == ["pics/a.png"] and data.labels is None and isinstance(data[0], Sample)


def test_columns_can_be_named(table):
    source = table("where,label,kind\npics/a.png,x,1\n")
    assert ImageTable(source, path_column="where", label_column="kind").classes == ["1"]
    assert ImageTable(source, path_column="where", label_column="").labels is None


def test_split_column_is_official(table):
    data = ImageTable(table("path,split\npics/a.png,train\npics/b.png,TEST\n"))
    assert {split: rows.tolist() for split, rows in data.splits().items()} == {"train": [0], "val": [], "test": [1]}


def test_without_split_column_all_rows_are_drawn(table):
    parts = ImageTable(table("path\n" + "pics/a.png\n" * 3)).splits()
    assert sorted(row for rows in parts.values() for row in rows.tolist()) == [0, 1, 2]


def test_errors(table, tmp_path):
    with pytest.raises(DataError, match=r"source: found no table .*none\.csv"):
        ImageTable(str(tmp_path / "none.csv"))
    with pytest.raises(
        DataError,
        match=r"path_column: found none of the usual names; .*Columns found: a, b\. Name it: --dataset.path_c",
    ):
        ImageTable(table("a,b\n1,2\n"))
    with pytest.raises(DataError, match=r"label_column: found 'labl'; .*Did you mean 'label'\?"):
        ImageTable(table("path,label\npics/a.png,1\n"), label_column="labl")
    with pytest.raises(DataError, match="no row in"):
        ImageTable(table("path,label\n"))
    with pytest.raises(DataError, match=r"split: found 'dev' in the table; allowed: train, val, test"):
        ImageTable(table("path,split\npics/a.png,dev\n"))
    with pytest.raises(DataError, match="a table that can be read"):
        ImageTable(table("no parquet", "x.parquet"))


def test_accepts(table):
    assert ImageTable.accepts(table("path\n")) and not ImageTable.accepts("none.csv")


def test_a_column_of_numbers_gives_targets(table):
    data = ImageTable(table("path,age,label\npics/a.png,31.5,x\npics/b.png,,y\n"), target_column="age")
    assert data.targets.dtype == torch.float64 and data.targets[0] == 31.5 and data.targets[1].isnan()
    assert [data[i].target for i in range(2)] == [31.5, None] and data.labels.tolist() == [0, 1]
    batch = data.batch([1, 0])
    assert batch.target[1] == 31.5 and batch.target[0].isnan() and batch.to("cpu").target.shape == (2,)
    assert data.digest() != ImageTable(table("path,age,label\npics/a.png,31.5,x\npics/b.png,,y\n")).digest()


def test_columns_are_told_where_labels_or_targets_are_needed(table):
    data = ImageTable(table("path,colour\npics/a.png,red\npics/b.png,blue\n"))
    for task, what in (("classify", "labels"), ("regress", "targets")):
        with pytest.raises(
            DataError, match=rf"data: found no {what} \(the columns are path, colour\); allowed: {what}"
        ):
            known(data, np.arange(2), task)
    assert not ImageTable(table("path,label,score\npics/a.png,x,1\n")).absent


def test_one_bad_cell_among_numbers_is_named(table):
    with pytest.raises(DataError, match="target: found 'abc' in row 2; allowed: finite numbers"):
        ImageTable(table("path,age\npics/a.png,31.5\npics/b.png,abc\n"), target_column="age")


def test_time_stamps_stay_apart_in_a_batch(table):
    data = ImageTable(table("path,seen\npics/a.png,1700000001\npics/b.png,1700000002\n"), target_column="seen")
    assert data.batch([1, 0]).target.tolist() == [1700000002, 1700000001]


def test_usual_targets_are_found_and_fractions_are_no_classes(table):
    fractions = ImageTable(table("path,target\npics/a.png,0.5\npics/b.png,2\n"))
    assert fractions.labels is None and fractions.targets.tolist() == [0.5, 2]
    whole = ImageTable(table("path,target\npics/a.png,5\npics/b.png,2\n"))
    assert whole.labels.tolist() == [1, 0] and whole.targets.tolist() == [5, 2]
    words = ImageTable(table("path,target\npics/a.png,cat\npics/b.png,dog\n"))
    assert words.labels.tolist() == [0, 1] and words.targets is None
    assert ImageTable(table("path,target\npics/a.png,0.5\n"), target_column="").targets is None
    with pytest.raises(DataError, match=r"target_column: found 'path', which holds no numbers; allowed: a column of"):
        ImageTable(table("path,label\npics/a.png,1\n"), target_column="path")
