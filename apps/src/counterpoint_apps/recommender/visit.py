"""What one visitor of the page has chosen, and the answer to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from counterpoint_graphrec.tasks import Answer, Filters, Recommender

SHOWN, FOUND = 10, 8
"""Recommendations, and titles under the search box."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visitor chose.

    Attributes:
        picks: item numbers, in the order of their choice; with any, the visitor is a newcomer who has these.
        user: id of the user that the visitor is, or "".
        group: only items of this category, or "".
    """

    picks: tuple[int, ...] = ()
    user: str = ""
    group: str = ""

    def pick(self, number: int) -> Visit:
        """With one item more; who picks is nobody known any more."""
        return replace(self, user="", picks=(*(one for one in self.picks if one != number), number))

    def drop(self, number: int) -> Visit:
        """Without an item."""
        return replace(self, picks=tuple(one for one in self.picks if one != number))

    def become(self, user: str) -> Visit:
        """As a user who was there in training."""
        return replace(self, picks=(), user=user)

    def answer(self, recommender: Recommender) -> Answer:
        """What is recommended: to a newcomer with the picks, to the user, or to everybody.

        Raises:
            CounterpointError: nothing can be recommended; the message says why.
        """
        filters = Filters(groups=(self.group,) if self.group else ())
        if self.picks:
            ids = [recommender.names.items[number] for number in self.picks]
            return recommender.recommend_for(ids, SHOWN, filters)
        if self.user:
            return recommender.recommend(self.user, SHOWN, filters)
        return recommender.popular(SHOWN, filters)

    def owned(self, recommender: Recommender) -> list[int]:
        """Items that are marked on the map: the picks, or what the user has."""
        if not self.user:
            return list(self.picks)
        nodes = recommender.nodes
        number = recommender.names.user(self.user)
        return [int(item) for item in nodes.has(number)]


def acted(visit: Visit, key: str, items: int) -> Visit:
    """The visit after a click on what carries ``key``: ``pick:7``, ``drop:7``, ``leave``, ``clear``; else unchanged.

    Keys come from the browser, and anybody can send any.
    """
    act, _, text = key.partition(":")
    if act in ("leave", "clear"):
        return replace(visit, picks=(), user="")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not 0 <= number < items:
        return visit
    return visit.pick(number) if act == "pick" else visit.drop(number) if act == "drop" else visit
