"""Which column is what: by the names that people use, or as they say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint.errors import DataError, message, nearest

USUAL: dict[str, tuple[str, ...]] = {
    "user": (
        *("user_id", "userid", "user", "uid", "user_name", "username", "customer_id", "customerid", "customer"),
        *("client_id", "client", "member_id", "member", "reader_id", "reader", "visitor_id", "visitorid"),
        *("account_id", "reviewer_id", "reviewerid", "reviewer", "author_id", "person_id", "person", "session_id"),
    ),
    "item": (
        *("item_id", "itemid", "item", "iid", "product_id", "productid", "movie_id", "movieid", "book_id", "bookid"),
        *("isbn", "parent_asin", "asin", "sku", "stock_code", "stockcode", "article_id", "articleid", "artist_id"),
        *("artistid", "track_id", "song_id", "game_id", "anime_id", "business_id", "content_id", "thread_id"),
        *("post_id", "product", "movie", "book", "article", "artist", "track", "song", "game", "thread"),
    ),
    "rating": ("rating", "ratings", "score", "stars", "star_rating", "overall", "preference"),
    "time": (
        *("timestamp", "time", "date", "datetime", "ts", "unix_review_time", "unixreviewtime", "review_date"),
        *("created_at", "event_time", "invoicedate", "invoice_date", "last_seen"),
    ),
    "title": (
        *("title", "item_title", "movie_title", "book_title", "name", "item_name", "product_name", "product_title"),
        *("product", "description"),
    ),
    "group": ("category", "categories", "main_category", "genre", "genres", "class", "department", "item_category"),
    "part": ("split",),
}
"""What a column is -> names that say so, the surest first (lower case, words joined by ``_``)."""


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns, None where it has none of the kind."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None
    title: str | None = None
    group: str | None = None
    part: str | None = None

    def names(self) -> list[str]:
        """Those that there are, each once."""
        found = (self.user, self.item, self.rating, self.time, self.title, self.group, self.part)
        return list(dict.fromkeys(name for name in found if name is not None))


_OBVIOUS = frozenset({"rating", "timestamp", "time", "title", "category", "genre", "split"})


def unobvious(columns: Columns, asked: dict[str, str | None]) -> list[str]:
    """What was guessed and is worth telling: ``"item = sku"`` is, ``"item = item_id"`` is not."""
    told = []
    for kind in USUAL:
        name = getattr(columns, kind)
        if name is not None and asked.get(kind) is None:
            known = plain(name) in _OBVIOUS or plain(name).replace("_", "") in (kind, f"{kind}id")
            told += [] if known else [f"{kind} = {name}"]
    return told


def plain(name: str) -> str:
    """``"User ID"`` -> ``"user_id"``; what follows a colon (a type, as RecBole writes it) is left out."""
    return re.sub(r"[^0-9a-z]+", "_", name.split(":")[0].strip().lower()).strip("_")


def guess(names: Sequence[str], kind: str, taken: Sequence[str | None] = ()) -> str | None:
    """The column of ``names`` that is the ``kind`` by its name, or None; none of ``taken``."""
    known = {plain(name): name for name in reversed(names) if name not in taken}
    return next((known[usual] for usual in USUAL[kind] if usual in known), None)


def are_names(fields: Sequence[str], least: int) -> bool:
    """Whether the first line of a file is names of columns: two are usual ones, or ``least`` and none is a number."""
    usual = sum(plain(field) == "id" or any(plain(field) in names for names in USUAL.values()) for field in fields)
    return usual > 1 or (usual >= least and not any(map(_is_number, fields)))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def choose(names: Sequence[str], asked: dict[str, str | None], where: str, needed: Sequence[str]) -> Columns:
    """The columns of a table.

    Args:
        names: columns that there are.
        asked: kind -> name that the user gave; "": none; None or absent: guess.
        where: what an error calls the table.
        needed: kinds without which nothing can be done.

    Raises:
        DataError: a column that was asked for is not there, or a needed one cannot be guessed.
    """
    given = {kind: name for kind, name in asked.items() if name is not None}
    chosen = {kind: _named(names, name, kind, where) if name else None for kind, name in given.items()}
    for kind in USUAL if "user" in needed else ("item", "title", "group"):
        if kind not in chosen:
            chosen[kind] = guess(names, kind, list(chosen.values()))
    if "user" not in needed and chosen["item"] is None:  # a table of items: its id is an item's
        chosen["item"] = next((name for name in names if plain(name) == "id"), None)
    for kind in needed:
        if chosen[kind] is None:
            raise _unknown(names, kind, where)
    if chosen.get("user") is not None and chosen["user"] == chosen["item"]:
        found = f"{chosen['user']!r} for both in {where}"
        raise DataError(message("user, item", found, f"two of the columns {', '.join(names)}"))
    return Columns(**chosen)


def _named(names: Sequence[str], name: str, kind: str, where: str) -> str:
    same = next((n for n in names if n == name), None) or next((n for n in names if plain(n) == plain(name)), None)
    if same is None:
        todo = f"{nearest(name, names).strip()} Columns: {', '.join(names)}." if names else ""
        raise DataError(message(kind, f"no column {name!r} in {where}", "a column of the table", todo))
    return same


def _unknown(names: Sequence[str], kind: str, where: str) -> DataError:
    usual = ", ".join(USUAL[kind][:6])
    places = "--dataset.user 1 --dataset.item 2"
    todo = f"Name the column: --dataset.{kind} NAME; of a file without a header by its place: {places}."
    return DataError(
        message(kind, f"columns {', '.join(names)} in {where}", f"one with a usual name ({usual}, ...)", todo)
    )
