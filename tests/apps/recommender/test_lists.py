"""Lists of items: plain files, tables, and a column that says yes or no."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from counterpoint.errors import DataError
from counterpoint_apps.recommender.lists import item_ids

pytestmark = pytest.mark.unit


def test_ids_come_from_lines_and_from_tables(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\ufeff007\n\n b:2 \n007\n", encoding="utf-8")
    assert item_ids(str(tmp_path / "ids.txt"), "--only") == ["007", "b:2"]
    (tmp_path / "a.tsv").write_text("name\titem_id\nx\t007\ny\t8\n", encoding="utf-8")
    assert item_ids(str(tmp_path / "a.tsv"), "--only") == ["007", "8"], "ids stay as they are written"
    table = pa.table({"sku": [3, 4, 5], "stock": [0.0, 2.5, None], "there": [True, False, True]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert item_ids(str(tmp_path / "a.parquet"), "--only") == ["3", "4", "5"]
    assert item_ids(f"{tmp_path / 'a.parquet'}:stock", "--only") == ["4"]
    assert item_ids(f"{tmp_path / 'a.parquet'}:there", "--only") == ["3", "5"]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("item,stock\n1,yes\n2,perhaps\n", encoding="utf-8")
    (tmp_path / "ids.txt").write_text("1\n", encoding="utf-8")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for asked, told in (
        ("no.csv", "there is no such file"),
        ("a.csv:stok", "no column 'stok'.*Did you mean 'stock'"),
        ("a.csv:stock", "stock: found 'perhaps' in .*a.csv, row 3"),
        ("ids.txt:stock", "a column of a .csv, .tsv or .parquet table"),
        ("torn.parquet", "a CSV, TSV or Parquet table"),
        ("latin.txt", r"a text file \(UTF-8\)"),
    ):
        with pytest.raises(DataError, match=told):
            item_ids(str(tmp_path / asked), "--only")
