"""RecBole's atomic files."""

from __future__ import annotations

import pytest

from counterpoint.errors import DataError
from counterpoint_graphrec.data import InteractionTable, RecBoleFile, examples

pytestmark = pytest.mark.unit

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_interactions_and_items(tmp_path):
    data = RecBoleFile(**examples.recbole(tmp_path))
    assert (data.n_users, data.n_items) == (40, 30) and len(data.timestamps) == len(data)
    number = data.item_number("3")
    assert data.titles[number] == "The comedy of number 3" and data.groups[number] == "comedy"
    assert not any("guessed" in note for note in data.notes)


def test_without_items_and_with_quotes_in_titles(write):
    data = RecBoleFile(write("a.inter", HEADER + '1\t7\t3\t5\n2\t"8\t4\t6\n'))
    assert data.titles is None and list(data.item_names) == ["7", '"8']
    write("a.item", 'item_id:token\tname:token_seq\tgenre:token_seq\n7\tThe "Best"\tDrama War\n"8\tB\t\n')
    data = RecBoleFile(write("a.inter", HEADER + '1\t7\t3\t5\n2\t"8\t4\t6\n'))
    assert list(data.titles) == ['The "Best"', "B"] and list(data.groups) == ["Drama", ""]


def test_columns_by_name_with_or_without_their_type(write):
    place = write("a.inter", "u:token\tv:token\tw:token\n1\t2\t3\n4\t5\t6\n")
    assert RecBoleFile(place, user="w", item="v:token").name(0) == "3 → 2"


def test_benchmark_files_are_the_fixed_split(write):
    train = write("a.train.inter", HEADER + "1\tx\t3\t1\n1\ty\t3\t2\n2\tx\t3\t3\n2\tz\t3\t9\n")
    write("a.valid.inter", HEADER + "2\ty\t3\t4\n")
    write("a.test.inter", HEADER + "1\tz\t3\t5\n")
    write("a.item", "item_id:token\ttitle:token_seq\nx\tThe X\ny\tThe Y\nz\tThe Z\n")
    data = RecBoleFile(train)
    found = {split: [data.name(int(row)) for row in rows] for split, rows in data.splits().items()}
    assert found["val"] == ["2 → y"] and found["test"] == ["1 → z"] and len(found["train"]) == 4
    assert list(data.titles) == ["The X", "The Y", "The Z"]


def test_what_is_no_atomic_file(write):
    with pytest.raises(DataError, match=r"the header user, item in a.inter; allowed: names with their types"):
        RecBoleFile(write("a.inter", "user\titem\n1\t2\n"))
    with pytest.raises(DataError, match=r"found no file 'none.inter'"):
        RecBoleFile("none.inter")
    with pytest.raises(DataError, match=r"a file ending in .inter"):
        RecBoleFile(write("a.csv", HEADER))


def test_accepts(write):
    place = write("a.inter", HEADER)
    assert RecBoleFile.accepts(place) and not InteractionTable.accepts(place)
    assert not RecBoleFile.accepts("none.inter") and not RecBoleFile.accepts(write("a.csv", HEADER))
