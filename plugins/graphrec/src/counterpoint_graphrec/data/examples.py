"""Small data for the conformance kit: forty users and thirty items of three tastes, as each source has them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

USERS, ITEMS, TASTES = 40, 30, ("comedy", "drama", "mystery")


def _rows() -> list[tuple[int, int, int, int]]:
    """User, item, rating, time: everybody touches most of the ten items of one taste, and a few others."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        liked = np.arange(ITEMS) % len(TASTES) == user % len(TASTES)
        items = np.flatnonzero(draw.random(ITEMS) < np.where(liked, 0.8, 0.1))
        rows += [(user, int(item), int(draw.integers(1, 6)), int(draw.integers(10**9, 2 * 10**9))) for item in items]
    return rows


def _title(item: int) -> str:
    return f"The {TASTES[item % len(TASTES)]} of number {item}"


def _write(path: Path, header: list[str], rows: list[list[Any]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def table(place: Path) -> dict[str, Any]:
    """A CSV file with ratings, times, titles and categories."""
    path = place / "interactions.csv"
    header = ["user_id", "item_id", "rating", "timestamp", "title", "category"]
    rows = [[f"u{u}", f"i{i}", rating, time, _title(i), TASTES[i % len(TASTES)]] for u, i, rating, time in _rows()]
    _write(path, header, rows, ",")
    return {"source": str(path)}


def recbole(place: Path) -> dict[str, Any]:
    """A RecBole ``.inter`` file with its ``.item`` file."""
    path = place / "toy.inter"
    header = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    _write(path, header, [list(row) for row in _rows()], "\t")
    header = ["item_id:token", "movie_title:token_seq", "class:token_seq"]
    _write(place / "toy.item", header, [[i, _title(i), TASTES[i % len(TASTES)]] for i in range(ITEMS)], "\t")
    return {"source": str(path)}


def arrays(place: Path) -> dict[str, Any]:
    """An archive of train and test pairs."""
    path = place / "interactions.npz"
    pairs = np.array([row[:2] for row in _rows()], dtype=np.int32)
    test = np.random.default_rng(1).random(len(pairs)) < 0.2
    np.savez(path, train=pairs[~test], test=pairs[test], n_users=USERS, n_items=ITEMS)
    return {"source": str(path)}
