"""Columns: which is what, and what stands in them."""

from __future__ import annotations

import pytest

from counterpoint.errors import DataError
from counterpoint.sources.columns import classes, column, parts, plain, target_of, targets

pytestmark = pytest.mark.unit
USUAL = ("path", "file_name")


@pytest.mark.parametrize(
    ("asked", "names", "found"),
    [
        (None, ["x", "File Name"], "File Name"),
        (None, ["fileName", "PATH"], "PATH"),
        (None, ["path", "Path"], "path"),
        (None, ["x"], None),
        ("", ["path"], None),
        ("x", ["path", "x"], "x"),
    ],
)
def test_column(asked, names, found):
    assert column("image", asked, USUAL, names) == found


def test_a_column_that_is_not_there():
    with pytest.raises(DataError, match=r"image: found 'pth'; allowed: a column of the table. Did you mean 'path'\?"):
        column("image", "pth", USUAL, ["path"])


def test_plain():
    assert plain(" Product-Name ") == plain("productName") == plain("product__name") == "product_name"


def test_classes():
    labels, names = classes([10, 2, None, 10])
    assert labels.tolist() == [1, 0, -1, 1] and names == ["2", "10"]
    labels, names = classes(["dog", "", "cat"])
    assert labels.tolist() == [1, -1, 0] and names == ["cat", "dog"]
    with pytest.raises(DataError, match=r"label: found the list \['cat'\]; allowed: a text or a number"):
        classes([["cat"], "dog"])


def test_parts():
    assert parts(["train", "Val", "TEST"]).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"split: found 'dev' in the table; allowed: train, val, test"):
        parts(["train", "dev"])


def test_targets_are_numbers_or_nothing():
    found = targets([1, None, 2.5, ""])
    assert found is not None and found.tolist()[::2] == [1, 2.5] and found[1::2].isnan().all()
    assert [target_of(found, i) for i in range(4)] == [1, None, 2.5, None] and target_of(None, 0) is None
    assert targets(["a", 1]) is None and targets([True]) is None and targets([None]) is None
    with pytest.raises(DataError, match="target: found inf in row 2; allowed: finite numbers"):
        targets([1.0, float("inf")])


def test_a_cell_that_is_no_number_is_named_where_numbers_are_meant():
    numbers = ["1", "2.5", None, ""]
    assert targets(numbers) is None, "may as well be classes"
    found = targets(numbers, meant=True)
    assert found is not None and found[:2].tolist() == [1, 2.5] and found[2:].isnan().all()
    told = r"target: found 'abc' in row 3; allowed: finite numbers\. Leave the cell empty where it is unknown\."
    with pytest.raises(DataError, match=told):
        targets(["1", "2", "abc", "4"], meant=True)
    with pytest.raises(DataError, match="target: found True in row 2"):
        targets([1, True], meant=True)
    assert targets(["a", "b"], meant=True) is None


def test_time_stamps_stay_apart():
    found = targets([1_700_000_001, 1_700_000_002])
    assert found is not None and found.tolist() == [1_700_000_001, 1_700_000_002]
