"""What users and items are called, and how a person's words find them."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from counterpoint.errors import DataError, ShapeError, message

SHORTLIST = 200
"""Names that are compared letter by letter with a misspelt one, chosen by the triples of letters that they share."""
TOLD = 5
_BEHIND = re.compile(r"\s*\([^()]*\)$")


@dataclass(frozen=True)
class Names:
    """Ids, titles and categories, by number.

    Attributes:
        users: ids of the users.
        items: ids of the items.
        titles: what a person calls each item.
        groups: its category, "" where none is known.

    Raises:
        ShapeError: items, titles and groups of different numbers.
    """

    users: Sequence[str]
    items: Sequence[str]
    titles: Sequence[str]
    groups: Sequence[str]

    def __post_init__(self) -> None:
        for name in ("titles", "groups"):
            if len(getattr(self, name)) != len(self.items):
                raise ShapeError(message(name, len(getattr(self, name)), f"{len(self.items)}, one an item"))

    @classmethod
    def numbered(cls, users: int, items: int) -> Names:
        """Names for data that has none: numbers from 0."""
        numbers = [str(number) for number in range(items)]
        return cls([str(number) for number in range(users)], numbers, numbers, [""] * items)

    @cached_property
    def categories(self) -> list[str]:
        """Categories that occur, the largest first."""
        names, counts = np.unique([group for group in self.groups if group], return_counts=True)
        return [str(names[i]) for i in np.lexsort((names, -counts))]

    @cached_property
    def _users(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.users)}

    @cached_property
    def _items(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.items)}

    @cached_property
    def _folded(self) -> list[str]:
        return [title.casefold() for title in self.titles]

    def user(self, name: str | int) -> int:
        """Number of a user.

        Raises:
            DataError: there is none of this id; the nearest ones are named.
        """
        text = str(name).strip()
        if text not in self._users:
            raise DataError(
                message("user", repr(text), f"one of {len(self.users):,} user ids", _near(text, self.users))
            )
        return self._users[text]

    def known(self, item: str) -> int | None:
        """Number of the item of this very id, or None."""
        return self._items.get(item)

    def item(self, text: str | int) -> int:
        """Number of an item, by its id, by its title, or by words that only its title has.

        Raises:
            DataError: none, with the nearest titles; or several, with their ids.
        """
        asked = str(text).strip()
        if asked in self._items:
            return self._items[asked]
        found = self._titled(asked) or (self.search(asked, TOLD + 1) if asked else [])
        if len(found) == 1:
            return found[0]
        if not found:
            todo = _near(asked, self.titles) if asked else ""
            raise DataError(message("item", repr(asked), "an id, or words of a title", todo))
        listed = "; ".join(self.called(number) for number in found[:TOLD])
        more = "; …" if len(found) > TOLD else ""
        todo = f"Write more of the title, or the id: {listed}{more}"
        raise DataError(message("item", f"{asked!r}, which several items answer to", "words of one title", todo))

    def _titled(self, asked: str) -> list[int]:
        """Items of this very title; or of this title but for what stands in brackets behind it, such as a year."""
        wanted = asked.casefold()
        exact = [number for number, title in enumerate(self._folded) if title == wanted]
        return exact or [number for number, title in enumerate(self._folded) if _BEHIND.sub("", title) == wanted]

    def called(self, number: int) -> str:
        """Id and title of an item; the id alone where it has no other name."""
        item, title = self.items[number], self.titles[number]
        return item if item == title else f"{item} ({title})"

    def search(self, text: str, most: int, weight: np.ndarray | None = None) -> list[int]:
        """Items whose title has every word of ``text``: titles that begin with it first, then the heaviest.

        Args:
            text: words or parts of words, in any order; an item's id finds it as well.
            most: how many at most.
            weight: ``(M,)``, e.g. popularity.
        """
        asked = text.casefold().strip()
        words = asked.split()
        if not words:
            return []
        found = [number for number, title in enumerate(self._folded) if all(word in title for word in words)]
        own = self._items.get(text.strip())
        if own is not None and own not in found:
            found.append(own)
        heavy = weight if weight is not None else np.zeros(len(self.items))

        def order(number: int) -> tuple[bool, bool, float, int]:
            title = self._folded[number]
            return number != own, not title.startswith(asked), -float(heavy[number]), number

        return heapq.nsmallest(most, found, key=order)


def closest(text: str, known: Sequence[str], most: int = 3) -> list[str]:
    """Up to ``most`` names that look like ``text``, the nearest first; quick among many thousands."""
    asked = _triples(text)
    shared = heapq.nlargest(SHORTLIST, range(len(known)), key=lambda i: (len(asked & _triples(known[i])), -i))
    lowered = {known[i].casefold(): known[i] for i in reversed(shared)}
    return [lowered[name] for name in difflib.get_close_matches(text.casefold(), lowered, n=most, cutoff=0.4)]


def _triples(text: str) -> set[str]:
    padded = f"  {text.casefold()} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


def _near(text: str, known: Sequence[str]) -> str:
    near = closest(text, known)
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    return f"For example {known[0]!r}." if len(known) else ""
