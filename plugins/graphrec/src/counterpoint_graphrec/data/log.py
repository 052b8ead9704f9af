"""What a source holds, row by row, and what is left of it once unusable rows and repeats are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from counterpoint.errors import ConfigError, DataError, message
from counterpoint_graphrec.data.ids import Texts
from counterpoint_graphrec.data.kcore import kcore


def _row(number: int) -> str:
    return f"row {number + 1:,}"


@dataclass
class Log:
    """Rows of interactions as a source has them.

    Attributes:
        user: ``(R,)`` int32 number of the user, -1 where there is no id.
        item: ``(R,)`` int32 number of the item, -1 where there is no id.
        users: the users' ids by number.
        items: the items' ids by number.
        rating: ``(R,)`` float64, NaN where it cannot be read; or None.
        time: ``(R,)`` float64, NaN where it cannot be read; or None.
        part: ``(R,)`` int8 official split (0 train, 1 val, 2 test), or None.
        titles: by item number, "" unknown; or None.
        groups: by item number, "" unknown; or None.
        clock: whether times of different users can be compared; a place in each one's history cannot.
        numbered: whether the numbers are the source's own, so that those without interactions keep theirs.
        line: row -> where it stands in the source.
        notes: what was guessed or left out in reading, a sentence each.
    """

    user: np.ndarray
    item: np.ndarray
    users: Texts
    items: Texts
    rating: np.ndarray | None = None
    time: np.ndarray | None = None
    part: np.ndarray | None = None
    titles: Texts | None = None
    groups: Texts | None = None
    clock: bool = True
    numbered: bool = False
    line: Callable[[int], str] = _row
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.user)

    def only(self, rows: np.ndarray) -> Log:
        """The rows of a mask or of numbers."""
        kept = {name: None if old is None else old[rows] for name, old in self._columns().items()}
        return replace(self, **kept)  # type: ignore[arg-type]

    def _columns(self) -> dict[str, np.ndarray | None]:
        return {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time, "part": self.part}


def cleaned(log: Log, min_rating: float | None, core: int, draw_users: int = 0, seed: int = 0) -> Log:
    """Distinct pairs in order of user and item, with everything that was left out in ``notes``.

    Raises:
        ConfigError: ``min_rating`` without ratings, or a negative ``core`` or ``draw_users``.
        DataError: nothing is left, or fewer than two users or items are.
    """
    if core < 0:
        raise ConfigError(message("core", core, "0 (all) or the number of interactions that each user and item has"))
    if draw_users < 0:
        raise ConfigError(message("draw_users", draw_users, "0 (all) or a number of users"))
    if min_rating is not None and log.rating is None:
        todo = "Name the column (--dataset.rating NAME), or leave min_rating out."
        raise ConfigError(message("min_rating", f"{min_rating} for data without ratings", "data with ratings", todo))
    log = _readable(log)
    log = _liked(log, min_rating)
    log = _distinct(log)
    if draw_users:
        log = _drawn(log, draw_users, seed)
    if core:
        log = _cored(log, core)
    log = log if log.numbered and not core and not draw_users else _renumbered(log)
    for kind, texts in (("user", log.users), ("item", log.items)):
        if len(texts) < 2:
            found = f"{len(log):,} interactions of one {kind}, {texts[0]!r}"
            raise DataError(message("source", found, f"at least 2 {kind}s", "With one there is nothing to compare."))
    return log


def _readable(log: Log) -> Log:
    """Without the rows that lack an id, a rating or a time."""
    rows, kept = len(log), np.ones(len(log), dtype=bool)
    blank = (log.user < 0) & (log.item < 0)
    reasons = [("user and item", blank), ("user", log.user < 0), ("item", log.item < 0)]
    for name, values in (("rating", log.rating), ("time", log.time)):
        if values is not None:
            reasons.append((f"a {name} that can be read", np.isnan(values)))
    for reason, bad in reasons:
        bad &= kept
        count = int(bad.sum())
        if count:
            first = log.line(int(np.argmax(bad)))
            log.notes.append(f"Left out: {count:,} of {rows:,} rows without {reason} (first: {first}).")
            kept &= ~bad
    log = log if kept.all() else log.only(kept)
    return _some(log, rows, "usable row")


def _some(log: Log, rows: int, what: str) -> Log:
    if not len(log):
        raise DataError(message("source", f"no {what} among {rows:,}. {' '.join(log.notes)}", f"at least one {what}"))
    return log


def _liked(log: Log, min_rating: float | None) -> Log:
    """Rows whose rating is high enough; without a threshold every row counts."""
    if log.rating is None:
        return log
    if min_rating is None:
        low, high = log.rating.min(), log.rating.max()
        if low < high:
            log.notes.append(
                f"Ratings ({low:g} to {high:g}) all count as interactions; min_rating keeps the high ones."
            )
        return replace(log, rating=None)
    rows, kept = len(log), log.rating >= min_rating
    most = float(log.rating.max())
    log = replace(log, rating=None).only(kept)
    log.notes.append(f"Left out: {rows - len(log):,} of {rows:,} rows with a rating below {min_rating:g}.")
    if not len(log):
        raise DataError(
            message("min_rating", f"{min_rating:g}, which leaves nothing", f"up to {most:g} for these data")
        )
    return log


def _distinct(log: Log) -> Log:
    """Each pair once, in order of user and item: train before test, then the earliest, then the first row."""
    key = log.user.astype(np.int64) * len(log.items) + log.item
    order = np.argsort(key)
    ordered = key[order]
    repeat = np.zeros(len(order), dtype=bool)
    repeat[1:] = ordered[1:] == ordered[:-1]
    repeats = int(repeat.sum())
    if repeats:
        places = np.flatnonzero(repeat | np.append(repeat[1:], False))
        rows = order[places]
        keys = [rows, *(column[rows] for column in (log.time, log.part, key) if column is not None)]
        order[places] = rows[np.lexsort(keys)]
        which = "first" if log.time is None else "earliest"
        what = "rows whose pair of user and item is there already; the"
        log.notes.append(f"Left out: {repeats:,} of {len(order):,} {what} {which} is kept.")
    return log.only(order[~repeat])


def _drawn(log: Log, count: int, seed: int) -> Log:
    users = np.unique(log.user)
    if count >= len(users):
        log.notes.append(f"draw_users asks for {count:,} users; there are {len(users):,}, and all are kept.")
        return log
    chosen = np.zeros(len(log.users), dtype=bool)
    chosen[np.random.default_rng(seed).choice(users, count, replace=False)] = True
    log = log.only(chosen[log.user])
    log.notes.append(f"{count:,} of {len(users):,} users were drawn, with {len(log):,} interactions.")
    return log


def _cored(log: Log, core: int) -> Log:
    rows = len(log)
    log = log.only(kcore(log.user, log.item, core))
    if len(log) < rows:
        log.notes.append(f"Left out: {rows - len(log):,} of {rows:,} interactions, outside of the {core}-core.")
    return log


def _renumbered(log: Log) -> Log:
    """Numbers without gaps: who has no interaction left has no number."""
    user, users = _compact(log.user, len(log.users))
    item, items = _compact(log.item, len(log.items))
    texts = {name: None if old is None else old.take(items) for name, old in (("t", log.titles), ("g", log.groups))}
    return replace(
        log,
        user=user,
        item=item,
        users=log.users.take(users),
        items=log.items.take(items),
        titles=texts["t"],
        groups=texts["g"],
    )


def _compact(numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    used = np.bincount(numbers, minlength=count) > 0
    return (np.cumsum(used) - 1).astype(np.int32)[numbers], np.flatnonzero(used)
