"""Small interaction data: a writer of tables, and the example data of each source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counterpoint_graphrec.data import InteractionTable, examples

ROWS = "user,item,rating,time\na,x,5,3\na,y,4,1\nb,x,1,2\nb,z,3,9\nc,y,2,8\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file below tmp_path."""

    def save(name: str, content: str | bytes = ROWS, encoding: str = "utf-8") -> str:
        place = tmp_path / name
        place.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return str(place)

    return save


@pytest.fixture
def table(write: Callable[..., str]) -> Callable[..., InteractionTable]:
    """Open a table with this content."""

    def opened(content: str | bytes = ROWS, name: str = "t.csv", **options: Any) -> InteractionTable:
        return InteractionTable(write(name, content), **options)

    return opened


@pytest.fixture
def example(tmp_path: Path) -> InteractionTable:
    """Forty users, thirty items, with ratings, times, titles and categories."""
    return InteractionTable(**examples.table(tmp_path))
