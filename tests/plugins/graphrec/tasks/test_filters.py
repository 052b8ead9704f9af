"""Filters: what they let through, what they say, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint.errors import ConfigError, DataError
from counterpoint_graphrec.tasks import Filters
from shops import ITEMS, LONELY_ITEM, Shop

pytestmark = pytest.mark.unit


def shown(shop: Shop, filters: Filters) -> tuple[set[int], tuple[str, ...]]:
    answer = shop.recommender().popular(ITEMS, filters)
    return {hit.number for hit in answer.hits}, answer.notes


def test_each_filter_lets_through_what_it_says(shop: Shop) -> None:
    groups, counts = np.array(shop.names.groups), shop.history.toarray().sum(axis=0)
    everything = set(range(ITEMS)) - {LONELY_ITEM}
    assert shown(shop, Filters())[0] == everything
    assert shown(shop, Filters(groups=["horror", "Drama"]))[0] == everything & set(
        np.flatnonzero(np.isin(groups, ["Horror", "Drama"]))
    )
    assert shown(shop, Filters(only=["i1", "i5"]))[0] == {1, 5}
    assert shown(shop, Filters(without=["i1", "i5"]))[0] == everything - {1, 5}
    assert shown(shop, Filters(least_users=8))[0] == set(np.flatnonzero(counts >= 8))
    assert shown(shop, Filters(groups=["Horror"], only=["i0", "i1", "i4"], without=["i4"]))[0] == {0}


def test_ids_that_are_no_items_are_counted(shop: Shop) -> None:
    found, notes = shown(shop, Filters(only=["i1", "gone", "i5", "old"]))
    assert found == {1, 5}
    assert notes[0] == "only: 2 of 4 ids are no item's and were left out, e.g. 'gone'."


def test_what_leaves_nothing_or_is_unknown_is_refused(shop: Shop) -> None:
    with pytest.raises(DataError, match="filters: found category Horror, only 1 listed items, which leave no item"):
        shown(shop, Filters(groups=["Horror"], only=["i1"]))
    with pytest.raises(DataError, match="at least 99 users, which leave no item"):
        shown(shop, Filters(least_users=99))
    with pytest.raises(DataError, match=r"only: found 1 ids, none of them an item's.*For example 'i0'"):
        shown(shop, Filters(only=["x"]))
    with pytest.raises(DataError, match="only: found 0 ids"):
        shown(shop, Filters(only=[]))
    with pytest.raises(ConfigError, match=r"group: found 'Horor'.*Did you mean 'Horror'"):
        shown(shop, Filters(groups=["Horor"]))
    with pytest.raises(ConfigError, match="least_users: found 0"):
        Filters(least_users=0)


def test_categories_of_data_without_any_are_refused(shop: Shop) -> None:
    from counterpoint_graphrec.tasks import Names

    shop.names = Names.numbered(*shop.history.shape)
    with pytest.raises(ConfigError, match="these items have no categories"):
        shown(shop, Filters(groups=["Horror"]))
