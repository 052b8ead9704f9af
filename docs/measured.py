"""Where measured numbers are read, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
ABSENT = "*Not measured yet.*"


def read(*names: str) -> dict[str, Any]:
    """What ``results/<names>.json`` holds: a claim's, a benchmark's or a demo's findings; empty: nothing is there."""
    path = RESULTS.joinpath(*names[:-1], f"{names[-1]}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def spread(values: Sequence[float], scale: float = 100, digits: int = 1) -> str:
    """Mean and standard deviation over seeds, times ``scale``; of one seed its value alone."""
    scaled = [scale * value for value in values]
    mean = f"{fmean(scaled):.{digits}f}"
    return f"{mean} ± {stdev(scaled):.{digits}f}" if len(scaled) > 1 else mean
