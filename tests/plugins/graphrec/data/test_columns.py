"""Columns by their names."""

from __future__ import annotations

import pytest

from counterpoint.errors import DataError
from counterpoint_graphrec.data.columns import Columns, choose, guess, plain, unobvious

pytestmark = pytest.mark.unit
BOTH = ("user", "item")


@pytest.mark.parametrize(
    ("names", "user", "item", "rating", "time"),
    [
        (["user_id", "item_id", "rating", "timestamp"], "user_id", "item_id", "rating", "timestamp"),
        (["userId", "movieId", "rating", "timestamp"], "userId", "movieId", "rating", "timestamp"),
        (["InvoiceNo", "StockCode", "InvoiceDate", "CustomerID"], "CustomerID", "StockCode", None, "InvoiceDate"),
        (["user_id:token", "item_id:token", "rating:float"], "user_id:token", "item_id:token", "rating:float", None),
        (["reviewerID", "asin", "overall", "unixReviewTime"], "reviewerID", "asin", "overall", "unixReviewTime"),
        (["Customer ID", "product", "product_id"], "Customer ID", "product_id", None, None),
    ],
)
def test_usual_names_are_known(names, user, item, rating, time):
    found = choose(names, {}, "t.csv", BOTH)
    assert (found.user, found.item, found.rating, found.time) == (user, item, rating, time)


def test_what_the_user_says_counts_and_nothing_is_taken_twice():
    names = ["user", "item", "product", "date"]
    found = choose(names, {"item": "product", "time": "", "rating": None}, "t.csv", BOTH)
    assert found == Columns(user="user", item="product") and found.names() == ["user", "product"]
    assert choose(names, {}, "t.csv", BOTH).title == "product"
    assert choose(["User ID:token", "i"], {"user": "user_id", "item": "i"}, "t", BOTH).user == "User ID:token"


def test_a_table_of_items_may_call_them_id():
    assert choose(["id", "user", "name"], {}, "t.csv", ("item",)) == Columns(item="id", title="name")
    assert guess(["id", "user"], "item") is None


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(DataError, match=r"user: found no column 'usr' in t.csv; .*mean 'user'\? Columns: user, item\."):
        choose(["user", "item"], {"user": "usr"}, "t.csv", BOTH)
    told = (
        r"item: found columns user, thing in t.csv; .*Name the column: --dataset\.item NAME; .*: --dataset\.user 1 --d"
    )
    with pytest.raises(DataError, match=told):
        choose(["user", "thing"], {}, "t.csv", BOTH)
    with pytest.raises(DataError, match=r"user, item: found 'id' for both"):
        choose(["id", "x"], {"user": "id", "item": "id"}, "t.csv", BOTH)


def test_only_guesses_that_might_surprise_are_told():
    assert unobvious(choose(["user_id", "itemId", "time", "genre"], {}, "t", BOTH), {}) == []
    assert unobvious(choose(["customer", "sku", "date"], {}, "t", BOTH), {"item": "sku"}) == [
        "user = customer",
        "time = date",
    ]
    assert plain("  User ID:token ") == "user_id"
