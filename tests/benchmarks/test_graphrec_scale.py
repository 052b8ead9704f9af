"""Recommenders: where a training step takes its time, how many threads pay, and a million users by a million items."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import measure
import pytest
from recommenders.case import Split
from recommenders.sources import MOVIELENS, generated, source
from recommenders.worker import HERE, Worker

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
DATA = ("generated",) if SMOKE else (MOVIELENS, "douban-book")
STEPS = 2 if SMOKE else 30
THREADS = (1,) if SMOKE else (1, 2)  # two on a busy machine take minutes
USERS, ITEMS, PAIRS, RANKED = (2000, 2000, 20_000, 10) if SMOKE else (1_000_000, 1_000_000, 20_000_000, 1000)
MEMORY = 20 * 1024
"""MiB."""
RESULTS: dict[str, object] = {}


def saved(name: str, folder: Path) -> Path:
    """The split's file, or skip."""
    split = source(name)
    if not isinstance(split, Split):
        pytest.skip(split)
    return split.save(folder / "pairs.npz")


@pytest.mark.parametrize("data", DATA)
def test_where_the_time_goes(data: str, tmp_path: Path) -> None:
    with Worker("pieces", "XSimGCL", saved(data, tmp_path)) as worker:
        worker.ask("epoch", 2)
        rounds = [worker.ask("pieces", STEPS) for _ in range(1 if SMOKE else 3)]
        speed = worker.ask("bandwidth")
    best = min(rounds, key=lambda pieces: sum(pieces.values()))
    result = {"what": f"processor milliseconds of the pieces of a step of XSimGCL, mean over {STEPS} steps, one thread"}
    found = {piece: round(value, 2) for piece, value in sorted(best.items(), key=lambda pair: -pair[1])}
    read = {what: round(value, 1) for what, value in speed.items()}
    save(f"a step on {data}", {**result, "milliseconds": found, "GB a second": read})
    assert {"propagation", "noise", "sampling", "optimiser"} <= set(best)


@pytest.mark.parametrize("data", DATA)
def test_threads(data: str, tmp_path: Path) -> None:
    """What a second thread brings here and now: the load of the machine stands beside it."""
    path = saved(data, tmp_path)
    found: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        workers = {n: stack.enter_context(Worker("ours", "XSimGCL", path, threads=n)) for n in THREADS}
        for worker in workers.values():
            worker.ask("epoch", 2)
        for _ in range(1 if SMOKE else 5):
            for threads, worker in workers.items():
                found.setdefault(f"{threads} thread(s)", []).append(worker.ask("epoch", STEPS))
    seconds = {
        clock: {name: round(min(epoch[clock] for epoch in epochs), 3) for name, epochs in found.items()}
        for clock in ("wall", "cpu")
    }
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    what = f"seconds of an epoch of XSimGCL, least of 5 by wall clock; {os.cpu_count()} cores, load {load}"
    save(f"threads on {data}", {"what": what, "wall seconds": seconds["wall"], "processor seconds": seconds["cpu"]})


def test_a_million_by_a_million(tmp_path: Path) -> None:
    generated(USERS, ITEMS, PAIRS).save(tmp_path / "pairs.npz")
    done = subprocess.run(
        [sys.executable, "-m", "recommenders.million", str(tmp_path / "pairs.npz"), str(RANKED)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    seconds = {what: measure.rounded(measure.Timing(**taken)) for what, taken in found["seconds"].items()}
    speed = {what: round(value, 1) for what, value in found["GB a second"].items()}
    what = f"{USERS:,} users, {ITEMS:,} items, {PAIRS:,} interactions, 70 % of them training; XSimGCL, one thread"
    result = {"what": what, "seconds": seconds, "MiB at most": round(found["MiB"]), "GB a second": speed}
    save("a million users by a million items", {**result, "target": {"MiB at most": MEMORY}})
    assert found["MiB"] < MEMORY


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into graphrec_scale.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("graphrec_scale", RESULTS)
