"""What every source shares: samples, batches, splits, matrices, names, notes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterpoint.errors import ConfigError, DataError
from counterpoint_graphrec.data import InteractionTable

pytestmark = pytest.mark.unit


def ids(data: InteractionTable, rows: np.ndarray) -> set[str]:
    return {data.name(int(row)) for row in rows}


def test_pairs_ids_and_numbers(table):
    data = table()
    assert (data.n_users, data.n_items, len(data)) == (3, 3, 5) and data.pairs.dtype == np.int64
    assert list(data.user_names) == ["a", "b", "c"] and list(data.item_names) == ["x", "y", "z"]
    assert [data.name(i) for i in range(5)] == ["a → x", "a → y", "b → x", "b → z", "c → y"]
    assert data.timestamps.tolist() == [3, 1, 2, 9, 8] and data.titles is None and data.groups is None
    assert data.user_number("b") == 1 and data.item_number("z") == 2
    with pytest.raises(DataError, match=r"user: found 'bb'; allowed: one of the 3 in the data"):
        data.user_number("bb")


def test_a_batch_equals_its_samples(example):
    rows = [7, 0, len(example) - 1, 7]
    quick, slow = example.batch(rows), example.collate([example[row] for row in rows])
    for modality in ("user", "item"):
        assert quick.data[modality].dtype == torch.int64
        assert torch.equal(quick.data[modality], slow.data[modality])
    assert torch.equal(quick.index, slow.index) and torch.equal(quick.content, slow.content)
    assert quick.label is slow.label is None and example.in_memory
    assert quick.data["user"].tolist() == example.pairs[rows, 0].tolist()
    assert len(example.batch([])) == 0
    assert example[-1].index == len(example) - 1
    with pytest.raises(IndexError):
        example[len(example)]


def test_content_ids_are_distinct(example):
    assert len(example.batch(range(len(example))).content.unique()) == len(example)


def test_samples_do_not_share_memory_with_the_pairs(example):
    before = example.pairs.copy()
    example[3].data["user"].add_(1)
    example.batch([3]).data["user"].add_(1)
    assert np.array_equal(example.pairs, before)


def test_matrices_are_the_pairs_of_each_split(example):
    parts = example.splits()
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(example)))
    for split, rows in parts.items():
        matrix = example.matrix(split)
        assert matrix.shape == (example.n_users, example.n_items) and matrix.dtype == np.float32
        assert np.array_equal(np.argwhere(matrix.toarray() == 1), example.pairs[rows])
        assert np.array_equal(example.pairs_of(split), example.pairs[rows]) and matrix is example.matrix(split)
        assert matrix.has_sorted_indices and len(rows)
    with pytest.raises(DataError, match=r"split: found 'trian'; .*Did you mean 'train'\?"):
        example.matrix("trian")


def test_order_of_rows_changes_nothing_but_the_numbers(table):
    rows = "a,x,5,3\na,y,4,1\nb,x,1,2\nb,z,3,9\nc,y,2,8\n".splitlines()
    for split in ("leave-one-out", "time"):
        found = []
        for order in (rows, rows[::-1]):  # times out of order
            data = table("\n".join(["user,item,rating,time", *order]), split=split)
            found.append({part: ids(data, chosen) for part, chosen in data.splits().items()})
        assert found[0] == found[1]
    assert found[0]["test"] == {"b → z"}


def test_every_split_is_disjoint_and_whole(example, tmp_path):
    for split in ("random", "leave-one-out", "time"):
        data = InteractionTable(str(tmp_path / "interactions.csv"), split=split)
        parts = data.splits()
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(data)))
        assert min(map(len, parts.values())) > 0
        assert all(np.array_equal(parts[p], rows) for p, rows in data.splits().items())


def test_leave_one_out_without_times_is_drawn_and_told(table):
    data = table("user,item\na,x\na,y\na,z\nb,x\nb,z\n", split="leave-one-out")
    assert {split: len(rows) for split, rows in data.splits().items()} == {"train": 2, "val": 1, "test": 2}
    assert any("drawn at random" in note for note in data.notes)


def test_users_without_test_items_are_told(table):
    assert "Not measured: 1 of 3 users, who have no test item." in table().notes


def test_pairs_that_train_cannot_know_are_told(table):
    data = table("user,item,time\na,x,1\nb,x,2\nb,y,3\na,y,4\nb,z,9\n", split="time")
    assert data.notes[-1] == "In val and test: 1 of 1 pairs whose user or item train does not have."


def test_ratings_count_or_are_cut(table):
    assert "Ratings (1 to 5) all count as interactions; min_rating keeps the high ones." in table().notes
    data = table(min_rating=2)
    assert len(data) == 4 and "Left out: 1 of 5 rows with a rating below 2." in data.notes
    assert list(data.user_names) == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"min_rating: found 9, which leaves nothing; allowed: up to 5"):
        table(min_rating=9)
    with pytest.raises(ConfigError, match=r"min_rating: found 3 for data without ratings"):
        table("user,item\na,x\nb,y\n", min_rating=3)
    with pytest.raises(ConfigError, match="min_rating"):
        table(rating="", min_rating=3)


def test_of_repeated_rows_the_earliest_is_kept(table):
    data = table("user,item,time\na,x,5\na,x,2\nb,x,1\nb,y,3\nb,y,3\n")
    assert len(data) == 3 and data.timestamps.tolist() == [2, 1, 3]
    assert "Left out: 2 of 5 rows whose pair of user and item is there already; the earliest is kept." in data.notes


def test_a_core_and_what_it_leaves(example, tmp_path):
    data = InteractionTable(str(tmp_path / "interactions.csv"), core=8)
    assert 0 < len(data) < len(example)
    assert np.bincount(data.pairs[:, 0]).min() >= 8 and np.bincount(data.pairs[:, 1]).min() >= 8
    assert np.bincount(data.pairs[:, 0]).shape == (data.n_users,) == (len(data.user_names),)
    assert set(data.user_names) < set(example.user_names) and len(data.titles) == data.n_items
    number = example.item_number(data.item_names[0])
    assert data.titles[0] == example.titles[number] and data.groups[0] == example.groups[number]
    assert any(note.startswith("Left out: ") and "8-core" in note for note in data.notes)


def test_a_draw_of_users(example, tmp_path):
    place = str(tmp_path / "interactions.csv")
    data = InteractionTable(place, draw_users=10)
    assert data.n_users == 10 and set(data.user_names) < set(example.user_names)
    rows = np.isin(example.pairs[:, 0], [example.user_number(name) for name in data.user_names])
    assert ids(data, np.arange(len(data))) == ids(example, np.flatnonzero(rows))
    assert f"10 of 40 users were drawn, with {len(data)} interactions." in data.notes
    assert set(InteractionTable(place, draw_users=10, seed=1).user_names) != set(data.user_names)
    assert InteractionTable(place, draw_users=99).n_users == 40
    with pytest.raises(ConfigError, match=r"draw_users: found -1; allowed: 0 \(all\) or a number of users"):
        InteractionTable(place, draw_users=-1)


def test_a_core_that_leaves_nothing(table):
    with pytest.raises(DataError, match=r"core: found 5, which leaves nothing; allowed: 0 to 1 for these data"):
        table(core=5)
    with pytest.raises(ConfigError, match=r"core: found -1"):
        table(core=-1)


def test_a_core_would_change_a_fixed_split(table):
    rows = "user,item,split\na,x,train\na,y,test\nb,x,train\nb,y,valid\n"
    with pytest.raises(ConfigError, match=r"core: found 2 with the source's fixed split; .*split='random'"):
        table(rows, core=2)
    assert len(table(rows, core=2, split="random")) == 4


def test_splits_that_the_source_does_not_allow(table):
    with pytest.raises(ConfigError, match=r"split: found 'time', but the source has no column of times"):
        table("user,item\na,x\nb,y\n", split="time")
    with pytest.raises(ConfigError, match=r"'fixed', but the source has no split of its own"):
        table(split="fixed")
    with pytest.raises(ConfigError, match=r"split: found 'rndom'; .*Did you mean 'random'\?"):
        table(split="rndom")
    with pytest.raises(ConfigError, match="fractions"):
        table(fractions=(0.5, 0.1, 0.1))


@pytest.mark.parametrize(("rows", "kind"), [("a,x\na,y\n", "user, 'a'"), ("a,x\nb,x\n", "item, 'x'")])
def test_one_user_or_one_item_is_nothing_to_compare(table, rows, kind):
    with pytest.raises(DataError, match=f"2 interactions of one {kind}; allowed: at least 2"):
        table("user,item\n" + rows)


def test_names_stay_distinct_whatever_the_ids_are(table):
    data = table("user,item\na → b,c\na,b → c\n😀 x, y \n")
    assert sorted(data.name(i) for i in range(3)) == ['"a → b" → c', 'a → "b → c"', "😀 x → y"]


def test_the_digest_follows_the_data(table):
    first = table().digest()
    assert table().digest() == first and len(first) == 32
    others = ["user,item,rating,time\na,x,5,3\na,y,4,1\nb,x,1,2\nb,z,3,9\nc,y,2,7\n"]
    others += [others[0].replace("c,", "d,").replace(",7", ",8")]
    assert len({first, *(table(content).digest() for content in others), table(seed=3).digest()}) == 4


def test_titles_from_another_file(table, write):
    items = write("items.csv", "id,name,genres\nx,Brazil,Comedy|Drama\ny,Kolya,Drama\nq,Nobody's,War\n")
    data = table(titles=items)
    assert list(data.titles) == ["Brazil", "Kolya", "z"] and list(data.groups) == ["Comedy", "Drama", ""]
    assert "Left out: 1 items of items.csv, which have no interaction here." in data.notes
    assert "Called by their ids: 1 of 3 items, which are not in items.csv." in data.notes


def test_titles_of_a_file_without_header(table, write):
    assert list(table(titles=write("t.tsv", "x\tBrazil\ny\tKolya\nz\tAlien 3\n")).item_names) == ["x", "y", "z"]
    data = table("user,item\n1,10\n2,20\n", titles=write("t.txt", "10|Brazil\n20|Kolya\n"))
    assert list(data.titles) == ["Brazil", "Kolya"]


def test_titles_that_do_not_fit(table, write, tmp_path):
    with pytest.raises(DataError, match=r"titles: found no item of the data in i.csv; allowed: ids such as 'x'"):
        table(titles=write("i.csv", "id,title\n1,Brazil\n"))
    with pytest.raises(DataError, match=r"titles: found only id in i.csv; allowed: a column title, name or category"):
        table(titles=write("i.csv", "id,year\nx,1\n"))
    with pytest.raises(DataError, match=r"titles: found no file 'none.csv'"):
        table(titles="none.csv")
    with pytest.raises(DataError, match=r"titles: found the folder"):
        table(titles=str(tmp_path))
