"""Numpy archives of pairs: parts, counts, order, names, faults; and the sets of the data home."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint.errors import ConfigError, DataError
from counterpoint_graphrec.data import InteractionArrays

pytestmark = pytest.mark.unit

TRAIN = np.array([[0, 0], [0, 1], [0, 3], [2, 1], [2, 0], [1, 1]], dtype=np.int32)
TEST = np.array([[0, 2], [2, 3]], dtype=np.int32)


@pytest.fixture
def archive(tmp_path):
    def write(**arrays: np.ndarray) -> str:
        np.savez(tmp_path / "a.npz", **arrays)
        return str(tmp_path / "a.npz")

    return write


def test_parts_and_counts(archive):
    data = InteractionArrays(archive(train=TRAIN, test=TEST, n_users=5, n_items=7))
    assert (data.n_users, data.n_items) == (5, 7) and list(data.item_names[5:]) == ["5", "6"]
    parts = data.splits()
    assert np.array_equal(data.pairs_of("test"), TEST) and (len(parts["train"]), len(parts["val"])) == (4, 2)
    assert data.matrix("train").shape == (5, 7) and data.matrix("train")[4].sum() == 0
    assert "Not measured: 1 of 3 users, who have no test item." in data.notes and data.timestamps is None


def test_official_val(archive):
    data = InteractionArrays(archive(train=TRAIN[:4], val=TRAIN[4:], test=TEST))
    assert sorted(data.pairs_of("val").tolist()) == sorted(TRAIN[4:].tolist()) and len(data.pairs_of("train")) == 4


def test_a_new_split_of_all_pairs(archive):
    data = InteractionArrays(archive(train=TRAIN, test=TEST), split="random", core=2)
    assert len(data) == 6 and list(data.user_names) == ["0", "2"]
    with pytest.raises(ConfigError, match="core: found 2 with the source's fixed split"):
        InteractionArrays(archive(train=TRAIN, test=TEST), core=2)


def test_pairs_without_parts(archive):
    data = InteractionArrays(archive(interactions=TRAIN))
    assert len(data) == 6 and all(len(rows) for rows in data.splits().values())


def test_places_in_a_history_order_the_left_out(archive):
    position = np.array([2, 1, 0, 0, 1, 0])
    data = InteractionArrays(archive(train=TRAIN, train_position=position, test=TEST))
    assert data.pairs_of("val").tolist() == [[0, 0], [2, 0]] and data.timestamps is None
    again = InteractionArrays(archive(train=TRAIN, train_position=position, test=TEST), split="leave-one-out")
    assert again.pairs_of("test").tolist() == [[0, 2], [2, 3]] and again.pairs_of("val").tolist() == [[0, 0], [2, 0]]
    with pytest.raises(ConfigError, match=r"places in each history, which are no common clock"):
        InteractionArrays(archive(train=TRAIN, train_position=position, test=TEST), split="time")


def test_times_titles_and_names(archive):
    more = {"titles": np.array(["A", "B", "", "D"]), "groups": np.array(["g", "", "h", "g"])}
    names = {"user_names": np.array(["u", "v", "w"])}
    data = InteractionArrays(
        archive(train=TRAIN, train_time=np.arange(6), test=TEST, test_time=[9, 8], **more, **names)
    )
    assert list(data.titles) == ["A", "B", "2", "D"] and data.user_number("w") == 2
    assert data.timestamps.max() == 9 and data.entities().classes == ["g", "h"]


def test_a_pair_in_train_and_test_is_train(archive):
    data = InteractionArrays(archive(train=TRAIN, test=np.concatenate([TEST, TRAIN[:1]])))
    assert len(data.pairs_of("test")) == 2
    assert any(note.startswith("Left out: 1 of 9 rows whose pair") for note in data.notes)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"a": TRAIN}, r"a.npz with a; allowed: pairs \(n, 2\) called train and test, or interactions"),
        ({"test": TEST}, "a.npz with test; allowed"),
        ({"train": TRAIN[:0], "test": TEST[:0]}, "no pair in a.npz"),
        ({"train": TRAIN.astype(float)}, r"train: found float64 \(6, 2\) in a.npz; allowed: whole numbers \(n, 2\)"),
        ({"train": TRAIN[:, :1]}, r"int32 \(6, 1\)"),
        ({"train": TRAIN - 1}, "train: found -1 to 2 in a.npz; allowed: numbers from 0"),
        ({"train": TRAIN, "n_items": 3}, r"n_items: found \[3\]; allowed: one number of at least 4"),
        ({"train": TRAIN, "train_position": np.arange(3)}, r"train_position: found \(3,\); allowed: \(6,\)"),
        ({"train": TRAIN, "titles": np.array(["A"])}, r"titles: found \(1,\); allowed: \(4,\), a text for each number"),
        ({"train": TRAIN, "user_names": np.array(["a", "a", "b"])}, "user_names: found 1 that are there twice"),
        ({"train": np.array([{}], dtype=object)}, "pickled objects are refused"),
    ],
)
def test_faults(archive, arrays, text):
    with pytest.raises(DataError, match=text):
        InteractionArrays(archive(**arrays))


def test_torn_files_and_absent_ones(archive, tmp_path):
    place = archive(train=np.random.default_rng(0).integers(0, 99, (999, 2)))
    whole = (tmp_path / "a.npz").read_bytes()
    for torn in (whole[:-300], whole[: len(whole) // 2], whole[:200] + b"\0" * 40 + whole[240:], b"", b"text"):
        (tmp_path / "a.npz").write_bytes(torn)
        with pytest.raises(DataError, match=r"source: found a.npz: .*; allowed: an .npz archive of plain arrays"):
            InteractionArrays(place)
    with pytest.raises(DataError, match=r"source: found the folder"):
        InteractionArrays(str(tmp_path))
    with pytest.raises(DataError, match=r"source: found 'douban-buch'; .*Did you mean 'douban-book'\?"):
        InteractionArrays("douban-buch")
    with pytest.raises(DataError, match=r"user: found 'id' for arrays, which have no columns"):
        InteractionArrays(archive(train=TRAIN), user="id")


def test_sets_of_the_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no .*rec.lastfm; allowed: lastfm in the data home. Set COUNTERPOINT_DATA"):
        InteractionArrays("lastfm")
    (tmp_path / "rec" / "mine").mkdir(parents=True)
    assert not InteractionArrays.accepts("mine") and InteractionArrays.accepts("lastfm")
    np.savez(tmp_path / "rec" / "mine" / "x.npz", train=TRAIN)
    assert InteractionArrays.accepts("mine") and len(InteractionArrays("mine")) == 6
    assert not any(map(InteractionArrays.accepts, ("../rec/mine", "", ".", "..", "none.npz", str(tmp_path))))


@pytest.mark.parametrize(
    ("name", "users", "items", "train", "val", "test"),
    [
        ("lastfm", 1_892, 4_489, 37_645, 4_490, 10_533),
        ("amazon-beauty", 22_363, 12_101, 153_776, 22_363, 22_363),
        ("douban-book", 13_024, 22_347, 557_207, 76_442, 158_413),
    ],
)
def test_real_sets(shared_data, name, users, items, train, val, test):
    if not (shared_data / "rec" / name).is_dir():
        pytest.skip(f"{name} is not in the data home")
    data = InteractionArrays(name)
    assert (data.n_users, data.n_items) == (users, items)
    assert [len(rows) for rows in data.splits().values()] == [train, val, test]
    assert np.array_equal(data.matrix("train").sum(1) + data.matrix("val").sum(1) > 0, data.matrix("train").sum(1) > 0)
