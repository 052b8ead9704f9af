"""Which items may be recommended at all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from counterpoint.errors import ConfigError, DataError, message, nearest
from counterpoint_graphrec.tasks.names import Names


@dataclass(frozen=True, slots=True)
class Filters:
    """What may be recommended.

    Attributes:
        seen: also what the user already has.
        groups: only items of these categories; none: of all.
        only: only items of these ids, e.g. what is in stock; None: all.
        without: no item of these ids.
        least_users: only items that this many users touched in training; from 1, since of an item that nobody touched
            nothing was learnt.

    Raises:
        ConfigError: ``least_users`` below 1.
    """

    seen: bool = False
    groups: Collection[str] = ()
    only: Collection[str] | None = None
    without: Collection[str] = ()
    least_users: int = 1

    def __post_init__(self) -> None:
        if self.least_users < 1:
            raise ConfigError(message("least_users", self.least_users, "a whole number from 1"))

    def allowed(self, names: Names, popularity: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """``(M,)`` bool, and what to tell the user of it.

        Args:
            names: of the items.
            popularity: ``(M,)`` users of each item in training.

        Raises:
            ConfigError: a category that there is not.
            DataError: no item is left.
        """
        allowed = popularity >= self.least_users
        notes: list[str] = []
        if self.groups:
            allowed &= np.isin(np.asarray(names.groups, dtype=object), self._groups(names))
        if self.only is not None:
            allowed &= _listed("only", self.only, names, notes)
        if self.without:
            allowed &= ~_listed("without", self.without, names, notes)
        if not allowed.any():
            raise DataError(message("filters", f"{self}, which leave no item", "filters that leave at least one"))
        return allowed, tuple(notes)

    def __str__(self) -> str:
        parts = [f"category {', '.join(self.groups)}"] if self.groups else []
        parts += [f"only {len(self.only)} listed items"] if self.only is not None else []
        parts += [f"without {len(self.without)} listed items"] if self.without else []
        parts += [f"at least {self.least_users} users"] if self.least_users > 1 or not parts else []
        return ", ".join(parts)

    def _groups(self, names: Names) -> list[str]:
        if not names.categories:
            raise ConfigError(message("group", ", ".join(self.groups), "none: these items have no categories"))
        folded = {category.casefold(): category for category in names.categories}
        for group in self.groups:
            if group.casefold() not in folded:
                found = message("group", repr(group), "a category of the items")
                raise ConfigError(f"{found}{nearest(group, names.categories)}")
        return [folded[group.casefold()] for group in self.groups]


def _listed(argument: str, ids: Collection[str], names: Names, notes: list[str]) -> np.ndarray:
    """``(M,)`` bool of the items listed; ids that are no item's are counted."""
    numbers = [names.known(str(one)) for one in ids]
    known = [number for number in numbers if number is not None]
    if not known:
        example = f"For example {names.items[0]!r}." if len(names.items) else ""
        raise DataError(message(argument, f"{len(numbers)} ids, none of them an item's", "ids of items", example))
    if len(known) < len(numbers):
        first = next(str(one) for one, number in zip(ids, numbers) if number is None)
        many = len(numbers) - len(known)
        notes.append(f"{argument}: {many:,} of {len(numbers):,} ids are no item's and were left out, e.g. {first!r}.")
    listed = np.zeros(len(names.items), dtype=bool)
    listed[known] = True
    return listed
