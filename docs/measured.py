"""How a measured number is written."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


def spread(values: Sequence[float], scale: float = 100, digits: int = 1) -> str:
    """Mean and standard deviation over seeds, times ``scale``; of one seed its value alone."""
    scaled = [scale * value for value in values]
    mean = f"{fmean(scaled):.{digits}f}"
    return f"{mean} ± {stdev(scaled):.{digits}f}" if len(scaled) > 1 else mean
