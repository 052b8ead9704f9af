"""Tables of interactions: layouts, encodings, odd rows, parts, faults."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from counterpoint.errors import DataError
from counterpoint_graphrec.data import InteractionTable

pytestmark = pytest.mark.unit

ROWS = "user,item,rating,time\nä 1,x,5,3\nä 1,y,4,1\nb,x,1,2\nb,🎸,3,9\nc,y,2,8\n"


def pairs(data: InteractionTable) -> set[str]:
    return {data.name(index) for index in range(len(data))}


WANTED = {"ä 1 → x", "ä 1 → y", "b → x", "b → 🎸", "c → y"}


@pytest.mark.parametrize(
    ("name", "delimiter", "told"),
    [
        ("t.csv", ",", None),
        ("t.tsv", "\t", None),
        ("t.csv", ";", "delimiter ';'"),
        ("t.txt", "|", "delimiter '|'"),
        ("t.csv", "\t", "delimiter tab"),
    ],
)
def test_any_delimiter(table, name, delimiter, told):
    data = table(ROWS.replace(",", delimiter), name)
    assert pairs(data) == WANTED and data.timestamps is not None
    notes = [note for note in data.notes if "guessed" in note]
    assert notes == ([f"{name}: {told} was guessed."] if told else [])


def test_spaces_between_columns(table):
    data = table("1 10 5\n1 20 4\n2 10 3\n", "t.txt")
    assert pairs(data) == {"1 → 10", "1 → 20", "2 → 10"}
    assert data.notes[:2] == (
        "t.txt: delimiter space was guessed.",
        "t.txt has no header; columns by their place: user = 1, item = 2, rating = 3.",
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(write, encoding):
    data = InteractionTable(write("t.csv", ROWS, encoding))
    assert pairs(data) == WANTED
    assert any("encoding utf-16 was guessed" in note for note in data.notes) == (encoding == "utf-16")


def test_latin_1_is_the_last_resort_and_told(write):
    rows = ROWS.replace("🎸", "z")
    assert any("encoding latin-1" in note for note in InteractionTable(write("t.csv", rows, "latin-1")).notes)
    late = rows.replace("ä", "a") + "filler,x,1,1\n" * 6_000 + "ü,z,1,1\n"  # beyond what is looked at first
    data = InteractionTable(write("t.csv", late, "latin-1"))
    assert "ü → z" in pairs(data)
    assert "t.csv is not UTF-8 throughout; it was read as latin-1." in data.notes


def test_compressed(write):
    assert pairs(InteractionTable(write("t.csv.gz", gzip.compress(ROWS.encode())))) == WANTED
    long = gzip.compress((ROWS + "".join(f"u{n},i{n * 7919 % 99_991},1,1\n" for n in range(60_000))).encode())
    for torn in (long[:-2_000], long[:40], b"no gzip"):
        with pytest.raises(DataError, match=r"source: found t.csv.gz: "):
            InteractionTable(write("t.csv.gz", torn))


def test_parquet(tmp_path):
    columns = {"uid": [1, 1, 2, None], "sku": ["x", "y", "x", "y"], "genres": [["a", "b"], [], ["a"], None]}
    columns["name"] = ["X", "Y", "X", "Y"]
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = InteractionTable(str(tmp_path / "t.parquet"))
    assert pairs(data) == {"1 → x", "1 → y", "2 → x"} and list(data.titles) == ["X", "Y"]
    assert (
        list(data.groups) == ["a", ""]
        and data.notes[0] == "Left out: 1 of 4 rows without user (first: row 4 of t.parquet)."
    )
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"source: found t.parquet: "):
        InteractionTable(str(tmp_path / "t.parquet"))


def test_a_column_of_another_type_is_named(tmp_path):
    pq.write_table(pa.table({"user": [[1], [2]], "item": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(
        DataError, match=r"user: found column 'user' of t.parquet, list.*allowed: text or whole numbers"
    ):
        InteractionTable(str(tmp_path / "t.parquet"))


def test_without_a_header(table):
    data = table("196\t242\t3\t881250949\n186\t302\t4\t891717742\n196\t302\t1\t891717743\n", "u.txt")
    assert pairs(data) == {"196 → 242", "186 → 302", "196 → 302"} and data.timestamps[0] == 881250949
    assert data.notes[0] == "u.txt has no header; columns by their place: user = 1, item = 2, rating = 3, time = 4."
    assert pairs(table("apple,alice\npear,bob\n", user="2", item="1")) == {"alice → apple", "bob → pear"}
    assert pairs(table("17,book,3\n18,game,4\n")) == {"17 → book", "18 → game"}


def test_names_that_might_surprise_are_told(table):
    data = table("Customer ID,sku,date\n1,x,2020-01-05\n2,y,2020-01-06\n")
    assert data.notes[0] == "t.csv: columns were guessed: user = Customer ID, item = sku, time = date."
    assert np.diff(data.timestamps).tolist() == [86_400]


def test_odd_rows_are_left_out_counted_and_placed(table):
    odd = "d,x\nd,y,3,4,5\n\nd,,3,4\n,x,3,4\nd,x,nan,4\nd,x,good,4\nd,x,1,\n"
    data = table(ROWS + odd)
    assert pairs(data) == WANTED
    assert data.notes[:6] == (
        "Left out: 2 lines with too many or too few fields (first: line 7 of t.csv: 2 fields instead of 4).",
        "Left out: 1 of 11 rows without user and item (first: line 9 of t.csv).",
        "Left out: 1 of 11 rows without user (first: line 11 of t.csv).",
        "Left out: 1 of 11 rows without item (first: line 10 of t.csv).",
        "Left out: 2 of 11 rows without a rating that can be read (first: line 12 of t.csv).",
        "Left out: 1 of 11 rows without a time that can be read (first: line 14 of t.csv).",
    )


def test_unreadable_times(table):
    rows = "user,item,date\na,x,12/1/2010 8:26\nb,x,later\nb,y,12/3/2010 8:26\n"
    data = table(rows)
    assert data.timestamps is None and len(data) == 3
    assert data.notes[1].startswith("Column 'date' of t.csv is not used: 3 of its 3 values cannot be read as time (")
    with pytest.raises(
        DataError, match=r"no usable row among 3\. Left out: 3 of 3 rows without a time that can be read"
    ):
        table(rows, time="date")


def test_a_title_that_differs_within_an_item_is_none(table):
    data = table("user,item,name,category\na,x,Anna,1\nb,x,Bert,1\na,y,Anna,2\nb,y,Bert,2\n")
    assert data.titles is None and list(data.groups) == ["1", "2"]
    assert "Column 'name' differs among the rows of one item, so it is not its title; not used." in data.notes


def test_a_column_split_is_the_fixed_split(table):
    data = table("user,item,split\na,x,train\na,y,test\nb,x,Train\nb,z,validation\nb,y,train\n")
    found = {split: {data.name(int(row)) for row in rows} for split, rows in data.splits().items()}
    assert found == {"train": {"a → x", "b → x", "b → y"}, "val": {"b → z"}, "test": {"a → y"}}
    with pytest.raises(DataError, match=r"split: found 'tset' in column 'split' of t.csv; allowed: train, val, test"):
        table("user,item,split\na,x,train\nb,y,tset\n")


def test_split_files(write):
    train = write("train.csv", "user,item\na,x\na,y\na,z\nb,x\nb,q\nc,y\nc,q\n")
    val, test = write("val.csv", "user,item\nb,y\nd,x\n"), write("test.csv", "item,user\nz,b\nx,a\nz,e\n")
    data = InteractionTable(train, val=val, test=test)
    found = {split: {data.name(int(row)) for row in rows} for split, rows in data.splits().items()}
    assert found["val"] == {"b → y", "d → x"} and found["test"] == {"b → z", "e → z"} and len(found["train"]) == 7
    assert any(note.startswith("Left out: 1 of 12 rows whose pair") for note in data.notes)
    drawn = InteractionTable(train, test=test)
    assert len(drawn.splits()["val"]) == 3 and len(drawn.splits()["test"]) == 2
    with pytest.raises(DataError, match=r"test: found no file 'none.csv'"):
        InteractionTable(train, test="none.csv")
    with pytest.raises(DataError, match=r"time: found a column in one file and none in another"):
        InteractionTable(train, test=write("timed.csv", "user,item,time\na,q,3\n"))


def test_where_an_odd_row_of_a_split_file_stands(write):
    test = write("test.csv", "user,item\nb,y\n,y\n")
    data = InteractionTable(write("train.csv", "user,item\na,x\na,y\nb,x\n"), test=test)
    assert data.notes[0] == "Left out: 1 of 5 rows without user (first: line 3 of test.csv)."


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", r"nothing in '.*t.csv'; allowed: a header and rows below it"),
        ("\n  \n\n", "nothing in"),
        ("user,item", "no row in t.csv, only a header"),
        ("user,item\n\n", "no row in t.csv, only a header"),
        ("user,item\n,\n,\n", r"no usable row among 2\. Left out: 2 of 2 rows without user and item"),
        ("user\na\nb\n", "one column in t.csv: 'user'; allowed: columns between commas"),
        ("user,item\n" + "a,b,c\n" * 5 + "a,b\n", r"5 of 6 lines with another number of fields \(line 2 of t.csv: 3 "),
        (b"PK\x03\x04\0\0\0", "binary content in t.csv; allowed: a text file or Parquet. Save a spreadsheet as CSV"),
    ],
)
def test_files_without_interactions(table, content, text):
    with pytest.raises(DataError, match=f"source: found {text}"):
        table(content)


def test_a_missing_column_is_named(table):
    with pytest.raises(
        DataError, match=r"user: found no column 'users'.*Did you mean 'user'\? Columns: user, item, rating"
    ):
        table(ROWS, user="users")
    with pytest.raises(
        DataError, match=r"found columns alice, apple in t.csv; .*of a file without a header by its place"
    ):
        table("alice,apple\nbob,pear\n")


def test_sources_that_are_no_table(tmp_path, write):
    write("a.csv", ROWS)
    with pytest.raises(DataError, match=r"source: found the folder .*; allowed: a file. Name one of its files: a.csv"):
        InteractionTable(str(tmp_path))
    with pytest.raises(DataError, match=r"source: found no file 'none.csv'"):
        InteractionTable("none.csv")
    with pytest.raises(DataError, match=r"a file ending in .csv, .parquet, .tsv, .txt"):
        InteractionTable(write("a.xlsx", ROWS))


def test_accepts(write, tmp_path):
    for name in ("t.csv", "t.TSV", "t.txt", "t.parquet", "t.csv.gz"):
        assert InteractionTable.accepts(write(name, ROWS))
    assert not any(map(InteractionTable.accepts, (str(tmp_path), "none.csv", write("t.npz", ROWS), write("t.inter"))))


def test_quotes_and_names_that_repeat(table):
    data = table('user,item,title,title\n"a, b",x,"The ""X""",1\nc,y,Y,2\n')
    assert pairs(data) == {"a, b → x", "c → y"} and list(data.titles) == ['The "X"', "Y"]
