"""Claims and benchmarks run, in their smoke size: everything is exercised, nothing is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("folder", "marker", "switch"),
    [("claims", "claim", {"COUNTERPOINT_SMOKE": "1"}), ("benchmarks", "bench", {"COUNTERPOINT_BENCH": "smoke"})],
)
def test_smoke(folder: str, marker: str, switch: dict[str, str], tmp_path: Path) -> None:
    places = {"COUNTERPOINT_CLAIMS": str(tmp_path / "runs"), "COUNTERPOINT_RESULTS": str(tmp_path / "results")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"tests/{folder}", "-m", marker, "-q", "-x"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **places, **switch},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
