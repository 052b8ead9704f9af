"""Train, val and test of interactions: random, leave-one-out, by time, or what the source fixes. All vectorised."""

from __future__ import annotations

from typing import Literal

import numpy as np

from counterpoint.errors import ConfigError, DataError, message
from counterpoint_graphrec.data.mixing import mixed

Split = Literal["random", "leave-one-out", "time", "fixed"]
Fractions = tuple[float, float, float]
TRAIN, VAL, TEST = 0, 1, 2


def check_fractions(fractions: Fractions) -> None:
    """Refuse fractions that are no parts of a whole.

    Raises:
        ConfigError: not three, one is negative, train has none, or they do not sum to 1.
    """
    sound = len(fractions) == 3 and all(0 <= share <= 1 for share in fractions) and fractions[0] > 0
    if not sound or abs(sum(fractions) - 1) > 1e-6:
        allowed = "three shares (train, val, test) that sum to 1, train above 0"
        raise ConfigError(message("fractions", tuple(fractions), allowed, "For example (0.7, 0.1, 0.2)."))


def randomly(users: np.ndarray, items: np.ndarray, fractions: Fractions, seed: int) -> np.ndarray:
    """``(N,)`` int8 parts: of each user's interactions these shares, drawn at random.

    Counts are rounded down in favour of train, but as long as train keeps one, test gets at least one and then val
    (RecBole's rule): of two interactions one is tested, of one none.

    Args:
        users: ``(N,)`` user numbers, in rising order.
        items: ``(N,)`` item numbers.
        fractions: shares of train, val and test.
        seed: of the draw; it depends on the numbers of user and item and on nothing else.
    """
    counts = np.bincount(users)
    parts = {part: np.floor(counts * fractions[part] + 1e-9).astype(np.int64) for part in (VAL, TEST)}
    for part in (TEST, VAL):
        lonely = (parts[part] == 0) & (counts - parts[VAL] - parts[TEST] > 1) & (fractions[part] > 0)
        parts[part] += lonely
    return _last(users, _shuffled(users, items, seed), parts[VAL], parts[TEST])


def leave_one_out(users: np.ndarray, items: np.ndarray, times: np.ndarray | None, seed: int) -> np.ndarray:
    """``(N,)`` int8 parts: each user's last is test, the last but one val; of two the last is test, one is train.

    Args:
        users: ``(N,)`` user numbers, in rising order.
        items: ``(N,)`` item numbers.
        times: ``(N,)``; None: which are last is drawn at random.
        seed: of that draw.
    """
    order = _shuffled(users, items, seed) if times is None else np.lexsort((times, users))
    counts = np.bincount(users)
    return _last(users, order, (counts > 2).astype(np.int64), (counts > 1).astype(np.int64))


def _shuffled(users: np.ndarray, items: np.ndarray, seed: int) -> np.ndarray:
    """A permutation that sorts by user and is random within each."""
    draw = mixed(users, items, seed) >> 31  # 32 bits, below the user's
    return np.argsort((users.astype(np.int64) << 32) | draw, kind="stable")


def _last(users: np.ndarray, order: np.ndarray, val: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Of each user's interactions in ``order`` the last ``test`` are test, and the ``val`` before them val."""
    counts = np.bincount(users, minlength=len(test))
    ends = np.cumsum(counts)
    owner = users[order]
    left = ends[owner] - np.arange(len(order))  # 1 for a user's last
    part = np.where(left <= test[owner], TEST, np.where(left <= (test + val)[owner], VAL, TRAIN))
    parts = np.empty(len(users), dtype=np.int8)
    parts[order] = part
    return parts


def by_time(times: np.ndarray, fractions: Fractions) -> np.ndarray:
    """``(N,)`` int8 parts: the earliest are train, the latest test, cut at two moments for all users.

    What happened at one moment stays together, so shares are met as nearly as the clock allows.

    Raises:
        DataError: all interactions have one time.
    """
    ordered = np.sort(times)
    shares = np.cumsum(fractions)
    cuts = [ordered[min(len(ordered) - 1, round(len(ordered) * share))] for share in shares[:2]]
    parts = np.zeros(len(times), dtype=np.int8)
    if fractions[VAL] > 0:
        parts[times >= cuts[0]] = VAL
    if fractions[TEST] > 0:
        parts[times >= cuts[1]] = TEST
    if not (parts == TRAIN).any():
        found = f"{(times == ordered[0]).mean():.0%} of the interactions at the earliest moment"
        raise DataError(message("split", f"'time', {found}", "times that can be cut", "Use split='random'."))
    return parts


def complete(
    users: np.ndarray,
    items: np.ndarray,
    parts: np.ndarray,
    times: np.ndarray | None,
    fractions: Fractions,
    seed: int,
) -> np.ndarray:
    """Official parts of which test or val may be missing: what is missing is drawn from train.

    Val is each user's last of train where the official test is one left out and times are known, else a random share.
    """
    parts = parts.copy()
    for part in (TEST, VAL):
        if (parts == part).any() or fractions[part] == 0:
            continue
        rows = np.flatnonzero(parts == TRAIN)
        if part == VAL and times is not None and np.bincount(users[parts == TEST]).max(initial=0) == 1:
            order, counts = np.lexsort((times[rows], users[rows])), np.bincount(users[rows])
            drawn = _last(users[rows], order, (counts > 1).astype(np.int64), np.zeros_like(counts))
        else:
            share = fractions[part] / (1 if part == TEST else fractions[TRAIN] + fractions[VAL])
            drawn = randomly(users[rows], items[rows], (1 - share, share, 0.0), seed)
        parts[rows[drawn == VAL]] = part
    return parts
