"""What every test shares: the data home, one thread, and no surprise from the user's environment."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COUNTERPOINT_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _data_home() -> Path | None:
    named = os.environ.get("COUNTERPOINT_DATA")
    for candidate in (Path(named) if named else None, ROOT.parent / "shared" / "data"):
        if candidate is not None and candidate.is_dir():
            return candidate
    return None


HOME = _data_home()
if HOME is not None:
    os.environ["COUNTERPOINT_DATA"] = str(HOME)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data home with real data sets; the test is skipped, with the reason, where there is none."""
    if HOME is None:
        pytest.skip("no data home: set COUNTERPOINT_DATA to a folder with real data sets")
    return HOME
