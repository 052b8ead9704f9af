"""One import of torch for the many short runs of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forks import Forks


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    client = Forks(tmp_path_factory.mktemp("forks"))
    yield client
    client.close()
