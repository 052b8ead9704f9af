"""A small trained run on a table of who read what, with titles that try to be markup."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from counterpoint import apps

USERS, ITEMS = 60, 40
ODD = 'The "Odd" <b>one</b> & more 😀'
NUMBERED = [f"{kind} {number}" for kind in ("Crime story", "Garden book") for number in range(ITEMS // 2)]
TITLES = [ODD, *NUMBERED[1:]]


def write_tables(place: Path) -> None:
    """``reads.csv`` (readers like crime or gardens) and ``books.csv`` (ids, titles, categories)."""
    draw = np.random.default_rng(0)
    with (place / "reads.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["reader", "book"])
        for user in range(USERS):
            half = (user % 2) * ITEMS // 2
            for item in sorted({*(half + draw.choice(ITEMS // 2, 9, replace=False)), int(draw.integers(ITEMS))}):
                rows.writerow([f"reader {user}", f"b{item}"])
    with (place / "books.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["book", "title", "category"])
        rows.writerows([f"b{item}", TITLES[item], "Crime" if item < ITEMS // 2 else "Gardens"] for item in range(ITEMS))


FIT = ["--method", "xsimgcl", "--epochs", "15", "--batch_size", "64", "--encoder.dim", "16", "--tensorboard", "false"]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``fit`` made of the tables."""
    place = tmp_path_factory.mktemp("recommender")
    write_tables(place)
    words = ["recommender", "fit", str(place / "reads.csv"), "--out", str(place / "run")]
    columns = ["--user", "reader", "--item", "book", "--titles", str(place / "books.csv")]
    assert apps.main([*words, *columns, *FIT, "--report", "false"]) == 0
    return place / "run"
