"""Ids as numbers, and texts in one buffer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from counterpoint.errors import DataError
from counterpoint_graphrec.data.ids import Texts, found, numbered

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["b", "a", None, "b", " a ", ""]),
        pa.chunked_array([["b", "a"], [None, "b"], [" a ", ""]]),
        pa.array(["b", "a", None, "b", " a ", ""]).dictionary_encode(),
        pa.chunked_array(
            [pa.array(["b", "a"]).dictionary_encode(), pa.array([None, "b", " a ", ""]).dictionary_encode()]
        ),
    ],
)
def test_numbers_follow_the_first_appearance_and_empty_ids_have_none(column):
    codes, names = numbered(column)
    assert codes.dtype == np.int32 and codes.tolist() == [0, 1, -1, 0, 1, -1]
    assert [names[code] for code in codes if code >= 0] == ["b", "a", "b", "a"]


def test_whole_numbers_stay_whole_even_beside_a_missing_value():
    codes, names = numbered(pa.array([12.0, float("nan"), 7.0, 12.0, None]))
    assert codes.tolist() == [0, -1, 1, 0, -1] and list(names)[:2] == ["12", "7"]
    assert list(numbered(pa.array([10**15, 3]))[1]) == [str(10**15), "3"]
    assert list(numbered(pa.array(["007", "7"]))[1]) == ["007", "7"]
    assert list(numbered(pa.array([0.5, 2.0]))[1]) == ["0.5", "2"]


@pytest.mark.parametrize(
    "empty", [pa.array([], pa.string()), pa.array([None, None]), pa.chunked_array([], pa.string())]
)
def test_no_ids(empty):
    codes, _ = numbered(empty)
    assert codes.tolist() == [-1] * len(empty)


def test_texts():
    texts = Texts(["a", None, "ä b", "🎸"])
    assert list(texts) == ["a", "", "ä b", "🎸"] and texts[3] == texts[-1] == "🎸" and len(texts) == 4
    assert list(texts[1:3]) == ["", "ä b"] and list(texts.take(np.array([3, -1, 0]))) == ["🎸", "", "a"]
    assert texts.find("ä b") == 2 and texts.find("b") == -1
    assert list(texts.or_else(Texts(["1", "2", "3", "4"]))) == ["a", "2", "ä b", "🎸"]
    assert texts.numbers_of(Texts(["🎸", "?", "a"])).tolist() == [3, -1, 0]
    assert Texts(["ab", "c"]).bytes() != Texts(["a", "bc"]).bytes()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        DataError, match=r"item: found 'Kolja'; allowed: one of the 2 in the data. Did you mean 'Kolya'\?"
    ):
        found(Texts(["Kolya", "Brazil"]), "Kolja", "item")
    with pytest.raises(DataError, match=r"For example 'Kolya'"):
        found(Texts(["Kolya", "Brazil"]), "12345", "item")
