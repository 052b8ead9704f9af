"""A catalogue of a large shop in a process of its own: ``python -m recommenders.million PAIRS RANKED``.

Opens the pairs, builds graph and table, trains one step of XSimGCL by the trainer, ranks some users; prints seconds of
each and the most memory, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from counterpoint.evaluation.ranking import dot_scores, full_ranking
from recommenders.case import Clock
from recommenders.ours import Built
from recommenders.pieces import bandwidth
from recommenders.worker import resident


def main(pairs: str, ranked: str) -> None:
    """Everything once, timed."""
    torch.set_num_threads(1)
    told: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        told[what] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    with timed("open, split, build graph and table"):
        built = Built("XSimGCL", Path(pairs), seed=0)
    for what in ("first step, with the sampler's and the optimiser's tables", "second step, likewise"):
        with timed(what):
            built.fit(1, 1, Clock())
    with timed("embeddings of all"), torch.no_grad():
        users, items = built.encoder.eval().nodes()
    seen, relevant = (built.dataset.matrix(split) for split in ("train", "test"))
    with timed(f"ranking of {ranked} users"):
        count(full_ranking(dot_scores(users, items), seen, some(relevant, int(ranked)), 20).items)
    most = resident()
    speed = bandwidth(built.encoder.graph, built.encoder.table.detach(), repeats=3)
    print(json.dumps({"seconds": told, "MiB": most, "GB a second": speed}))


def some(matrix: csr_array, users: int) -> csr_array:
    """The entries of the first ``users`` rows that have any."""
    row = np.flatnonzero(np.diff(matrix.indptr))[:users][-1] + 1
    starts = np.minimum(matrix.indptr, matrix.indptr[row])
    return csr_array((matrix.data[: starts[-1]], matrix.indices[: starts[-1]], starts), shape=matrix.shape)


def count(items: np.ndarray) -> None:
    """Everybody got a whole list."""
    if not (items >= 0).all():
        raise RuntimeError("a user got fewer items than asked for")


if __name__ == "__main__":
    main(*sys.argv[1:])
