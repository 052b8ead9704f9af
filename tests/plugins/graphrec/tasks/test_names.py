"""Ids, titles and words: what finds an item, and what is said where nothing does."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint.errors import DataError, ShapeError
from counterpoint_graphrec.tasks import Names
from counterpoint_graphrec.tasks.names import closest
from shops import Shop

pytestmark = pytest.mark.unit


def test_an_item_is_found_by_id_title_and_words(shop: Shop) -> None:
    names = shop.names
    for text, number in (
        ("i4", 4),
        ("  i4 ", 4),
        ("solaris (1972)", 4),
        ("2002 SOLARIS", 5),
        ("runner", 2),
        ("alien", 0),
        ("aliens", 1),
        ('The "Best" <b>of</b> & more 😀', 3),
        ("😀", 3),
        ("Film 6", 6),
    ):
        assert names.item(text) == number, text


def test_an_id_goes_before_a_title() -> None:
    names = Names(["u"], ["1", "2"], ["2", "1"], ["", ""])
    assert names.item("1") == 0 and names.item(2) == 1


def test_several_titles_are_told_with_their_ids(shop: Shop) -> None:
    with pytest.raises(DataError, match=r"several items answer to.*i4 \(Solaris \(1972\)\); i5 \(Solaris \(2002\)\)"):
        shop.names.item("solaris")
    with pytest.raises(DataError, match="; …"):
        shop.names.item("film")
    twice = Names([], ["a", "b"], ["Same", "Same"], ["", ""])
    with pytest.raises(DataError, match=r"a \(Same\); b \(Same\)"):
        twice.item("same")


def test_what_is_unknown_is_answered_with_the_nearest(shop: Shop) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'Blade Runner \(1982\)'"):
        shop.names.item("Bladde Runer")
    with pytest.raises(DataError, match="item: found ''"):
        shop.names.item("   ")
    with pytest.raises(DataError, match="For example 'user 0'"):
        shop.names.user("§§§§")
    assert shop.names.user("user 3") == 3


def test_search_has_beginnings_first_then_the_heaviest(shop: Shop) -> None:
    weight = np.arange(len(shop.names.items))
    assert shop.names.search("solaris", 9, weight) == [5, 4]
    assert shop.names.search("s", 3, weight)[:2] == [5, 4]
    assert shop.names.search("i3", 9)[0] == 3
    assert shop.names.search("  ", 9) == []
    assert len(shop.names.search("film", 4)) == 4


def test_the_nearest_of_many_thousands_is_quick() -> None:
    known = [f"item number {number} of the shop" for number in range(20_000)] + ["The Shawshank Redemption"]
    assert closest("shawshank redemtion", known)[0] == "The Shawshank Redemption"


def test_categories_are_those_that_occur_the_largest_first(shop: Shop) -> None:
    names = Names([], list("abcd"), list("abcd"), ["y", "x", "x", ""])
    assert names.categories == ["x", "y"]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="titles: found 1"):
        Names([], ["a", "b"], ["a"], ["", ""])


def test_numbers_stand_in_for_names() -> None:
    names = Names.numbered(2, 3)
    assert names.user(1) == 1 and names.item("2") == 2 and names.called(0) == "0"
