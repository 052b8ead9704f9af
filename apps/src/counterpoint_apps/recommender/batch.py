"""``batch``: recommendations for everybody, with a progress bar."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from counterpoint.training.tables import bar
from counterpoint_apps.shell import tell
from counterpoint_graphrec.tasks import Filters, Recommender


def batch(recommender: Recommender, out: Path, filters: Filters) -> None:
    """Write the table and say what is in it.

    Raises:
        DataError: filters that leave nothing.
        TrainingError: the file cannot be written.
    """
    began = time.perf_counter()
    with bar(Console(stderr=True)) as progress:
        work = progress.add_task("recommending", total=len(recommender.names.users))
        told = recommender.batch(out, filters=filters, tick=lambda n: progress.update(work, advance=n))
    for note in told.notes:
        tell(note)
    if told.popular:
        tell(f"{told.popular:,} users without a training interaction got the most popular items (rule: popularity).")
    if told.empty:
        tell(f"To {told.empty:,} users nothing is left to recommend: they have no row.")
    seconds = time.perf_counter() - began
    print(f"{told.rows:,} recommendations for {told.users - told.empty:,} users in {out} ({seconds:.1f} s)")
