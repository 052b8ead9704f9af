"""Recommenders: seconds of an epoch and of a full ranking, and memory, beside SELFRec, RecBole and plain torch.

Everyone is given the same pairs, model, batch (2,048), width (64), layers (3) and rates, in a process of its own with
one thread; epochs of several frameworks take turns, least of the rounds. An epoch is all training pairs once, without
the ranking; on larger data some steps are timed and the rest is extrapolated. SELFRec takes part where
``$COUNTERPOINT_SELFREC`` is a checkout of it and numba is installed, RecBole where it is importable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import measure
import pytest
from recommenders.sources import MOVIELENS, source
from recommenders.worker import Worker, absent, started

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
FRAMEWORKS = {
    "XSimGCL": ("ours", "plain", "selfrec"),
    "LightGCN": ("ours", "plain", "selfrec", "recbole"),
    "SimGCL": ("ours", "selfrec"),
    "SGL": ("ours", "selfrec", "recbole"),
    "BPR": ("ours", "recbole"),
}
STEPS = {"generated": 2, MOVIELENS: 10_000, "lastfm": 10_000, "douban-book": 6}
CASES = [(model, data) for data in (MOVIELENS, "douban-book") for model in ("XSimGCL", "LightGCN")]
CASES += [(model, MOVIELENS) for model in ("SimGCL", "SGL", "BPR")] + [("XSimGCL", "lastfm"), ("LightGCN", "lastfm")]
RATIO, RANKING = 0.5, 0.05
JUDGED = {"XSimGCL": "selfrec", "LightGCN": "recbole"}
RESULTS: dict[str, object] = {}


def least(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {clock: round(min(found[clock] for found in rounds), 4) for clock in ("wall", "cpu")}


@dataclass
class Measured:
    """What a framework took."""

    epoch: dict[str, float]
    ranking: dict[str, float]
    peak: float
    imported: float


def taken(asked: dict[str, Worker], steps: int) -> dict[str, Measured]:
    """Epochs and rankings in turns; the first of each compiles and warms up, and does not count."""
    rounds = 1 if SMOKE else 2
    for worker in asked.values():
        worker.ask("epoch", 2)
        worker.ask("rank")
    epochs: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
    rankings: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, worker in asked.items():
            epochs[name].append(worker.ask("epoch", steps))
            rankings[name].append(worker.ask("rank"))
    return {
        name: Measured(least(epochs[name]), least(rankings[name]), worker.ask("peak"), worker.built["imported"])
        for name, worker in asked.items()
    }


@pytest.mark.parametrize(("model", "data"), [("XSimGCL", "generated")] if SMOKE else CASES)
def test_seconds_and_memory(model: str, data: str, tmp_path: Path) -> None:
    split = source(data)
    if isinstance(split, str):
        save(f"{model} on {data}", {"what": f"not measured: {split}"})
        pytest.skip(split)
    steps = min(STEPS[data], split.steps)
    with started(FRAMEWORKS[model], model, split.save(tmp_path / "pairs.npz")) as asked:
        found = taken(asked, steps)
    missing = {name: absent(name) for name in FRAMEWORKS[model] if name not in found}
    counted = "whole epochs" if steps == split.steps else f"{steps} of {split.steps} steps, extrapolated"
    sizes = f"{split.n_users:,} users, {split.n_items:,} items, {len(split.train):,} training pairs"
    result: dict[str, object] = {"what": f"{sizes}; {counted}; one thread, least of the rounds"}
    result["seconds per epoch"] = {**{name: m.epoch for name, m in found.items()}, **missing}
    result["times ours"] = {name: round(m.epoch["cpu"] / found["ours"].epoch["cpu"], 2) for name, m in found.items()}
    result["seconds of full ranking"] = {name: m.ranking for name, m in found.items()}
    result["MiB at most"] = {name: round(m.peak) for name, m in found.items()}
    result["MiB beside the imports"] = {name: round(m.peak - m.imported) for name, m in found.items()}
    save(f"{model} on {data}", {**result, "target": targets(data, model)})
    if not SMOKE:
        judge(found, data, model)


def targets(data: str, model: str) -> dict[str, float]:
    """What is asked of ours."""
    asked = {"ours / full ranking, seconds": RANKING} if data == MOVIELENS else {}
    return {f"ours / {JUDGED[model]}": RATIO, **asked} if model in JUDGED and data != "lastfm" else asked


def judge(found: dict[str, Measured], data: str, model: str) -> None:
    ours, peer = found["ours"], found.get(JUDGED.get(model, ""))
    if data == MOVIELENS:
        assert ours.ranking["cpu"] <= RANKING
    if peer is not None and data != "lastfm":
        assert ours.epoch["cpu"] <= RATIO * peer.epoch["cpu"]
    for name in found.keys() & {"selfrec", "recbole"}:
        assert ours.peak - ours.imported < found[name].peak - found[name].imported


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into graphrec.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("graphrec", RESULTS)
