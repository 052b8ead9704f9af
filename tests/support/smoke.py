"""Claims and benchmarks in their smoke size, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def smoke(folder: str, marker: str, switch: dict[str, str], place: Path) -> None:
    """Run ``tests/<folder>`` with ``switch`` set; what it leaves goes to ``place``."""
    places = {"COUNTERPOINT_CLAIMS": str(place / "runs"), "COUNTERPOINT_RESULTS": str(place / "results")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"tests/{folder}", "-m", marker, "-q", "-x"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **places, **switch},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout
