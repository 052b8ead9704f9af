"""What a recommender answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Rule = Literal["fold-in", "user", "likeness", "popularity"]


@dataclass(frozen=True, slots=True)
class Best:
    """The best items for rows of vectors.

    Attributes:
        scores: ``(B, k)``, falling.
        items: ``(B, k)`` int64 rows of the items; equal scores by rising row.
    """

    scores: Tensor
    items: Tensor


@dataclass(frozen=True, slots=True)
class Reason:
    """An item that speaks for a recommendation.

    Attributes:
        item: its id.
        title: what a person calls it.
        part: what it adds to the score.
        share: its share, 0 to 1, of everything that speaks for the recommendation: of the sum of all parts above 0.
    """

    item: str
    title: str
    part: float
    share: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One recommended item.

    Attributes:
        number: its row.
        item, title, group: its id, what a person calls it, and its category ("" where none is known).
        score: what it was ranked by; the answer's ``rule`` says what that is.
        reasons: of the asker's own items those that add most to the score, the largest part first.
        rest: the part of the score that no item explains: of the user's own embedding before propagation.
        shared: how many users touched both this item and the one asked for (`Recommender.similar`), else None.
    """

    number: int
    item: str
    title: str
    group: str
    score: float
    reasons: tuple[Reason, ...] = ()
    rest: float = 0.0
    shared: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was recommended, and how.

    Attributes:
        asked: the user, or the items.
        rule: ``"user"``: inner product with the trained user; ``"fold-in"``: with a newcomer made of items;
            ``"likeness"``: cosine with the items; ``"popularity"``: number of users.
        hits: the best first.
        notes: what the asker should know, a sentence each: a fallback, fewer items than asked for, ids left out.
    """

    asked: str
    rule: Rule
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
