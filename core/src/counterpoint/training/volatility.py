"""How restless the scores are over a training. Plain Python on the numbers of ``metrics.csv``, as the verdict is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

WINDOW = 10
"""Changes that `volatility` averages."""


def volatility(points: Sequence[tuple[int, float]], window: int = WINDOW) -> list[tuple[int, float]]:
    """How much a mean score jumps from one look to the next: root mean square of its last ``window`` changes.

    A key encoder that moves too fast makes negatives restless.

    Args:
        points: ``(step, mean score)``, as `read_metrics` gives them.
        window: changes that are averaged.

    Returns:
        ``(step, volatility)`` from the second look on.
    """
    changes = [(after[0], (after[1] - before[1]) ** 2) for before, after in itertools.pairwise(points)]
    found = []
    for number, (step, _) in enumerate(changes, start=1):
        last = [square for _, square in changes[max(0, number - window) : number]]
        found.append((step, math.sqrt(sum(last) / len(last))))
    return found
