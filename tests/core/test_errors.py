"""What an error says of a name that there is not."""

from __future__ import annotations

import pytest

from counterpoint.errors import nearest, suggestion, unknown

pytestmark = pytest.mark.unit

SPLITS = ("train", "val", "test")


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    assert suggestion("Tset", SPLITS) == "Did you mean 'test'?"
    assert suggestion("TRAIN", SPLITS) == "Did you mean 'train'?"
    assert nearest("tset", SPLITS) == " Did you mean 'test'?"


def test_where_none_is_near_there_is_the_list() -> None:
    assert suggestion("other", SPLITS) == suggestion("other", []) == ""
    assert nearest("other", SPLITS) == " There is: test, train, val."
    assert nearest("other", []) == " There is none."


def test_what_is_allowed_is_named_once_and_in_its_order() -> None:
    assert unknown("split", "tset", SPLITS) == "split: found 'tset'; allowed: train, val, test. Did you mean 'test'?"
    assert unknown("split", "other", SPLITS) == "split: found 'other'; allowed: train, val, test."
    assert unknown("split", "other", SPLITS, "a split") == "split: found 'other'; allowed: a split."
    assert unknown("split", "other", []) == "split: found 'other'; allowed: none."
