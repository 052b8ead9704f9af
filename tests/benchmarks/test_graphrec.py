"""Recommenders: seconds of an epoch and of a full ranking, memory and recall, beside SELFRec, RecBole and plain torch.

Everyone is given the same pairs, model, batch (2,048), width (64), layers (3) and rates, in a process of its own with
one thread; epochs of several frameworks take turns, least of the rounds. An epoch is all training pairs once, without
the ranking; on larger data some steps are timed and the rest is extrapolated. SELFRec takes part where
``$COUNTERPOINT_SELFREC`` is a checkout of it and numba is installed, RecBole where it is importable.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import measure
import numpy as np
import pytest
import torch
from recommenders.case import Split
from recommenders.sources import MOVIELENS, generated, source
from recommenders.worker import Worker
from scipy.sparse import csr_array

from counterpoint.evaluation.ranking import dot_scores, full_ranking

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
FRAMEWORKS = {
    "XSimGCL": ("ours", "plain", "selfrec"),
    "LightGCN": ("ours", "plain", "selfrec", "recbole"),
    "SimGCL": ("ours", "selfrec"),
    "SGL": ("ours", "selfrec", "recbole"),
    "BPR": ("ours", "recbole"),
}
MODELS = ("XSimGCL",) if SMOKE else tuple(FRAMEWORKS)
STEPS = {"generated": 2, MOVIELENS: 10_000, "lastfm": 10_000, "douban-book": 6}
DATA = ("generated",) if SMOKE else (MOVIELENS, "douban-book", "lastfm")
RATIO, RANKING, RECALL = 0.5, 0.05, 0.98
JUDGED = {"XSimGCL": "selfrec", "LightGCN": "recbole"}
RESULTS: dict[str, object] = {}


def absent(framework: str) -> str:
    """Why a framework can't take part, or nothing."""
    if framework == "selfrec":
        if not (Path(os.environ.get("COUNTERPOINT_SELFREC", "absent")) / "SELFRec.py").is_file():
            return "COUNTERPOINT_SELFREC names no checkout"
        return "" if importlib.util.find_spec("numba") else "numba is not installed"
    if framework == "recbole":
        return "" if importlib.util.find_spec("recbole") else "not installed"
    return ""


@functools.cache
def split_of(name: str) -> Split | str:
    return generated(300, 200, 8000) if name == "generated" else source(name)


@contextmanager
def workers(model: str, split: Split, folder: Path, seed: int = 0) -> Iterator[dict[str, Worker]]:
    """A process for each framework that is there."""
    path = split.save(folder / "pairs.npz")
    with ExitStack() as stack:
        there = [framework for framework in FRAMEWORKS[model] if not absent(framework)]
        yield {framework: stack.enter_context(Worker(framework, model, path, seed)) for framework in there}


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
    rounds = 1 if SMOKE else 3
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


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("data", DATA)
def test_seconds_and_memory(data: str, model: str, tmp_path: Path) -> None:
    split = split_of(data)
    if isinstance(split, str):
        save(f"{model} on {data}", {"what": f"not measured: {split}"})
        pytest.skip(split)
    steps = min(STEPS[data], split.steps)
    with workers(model, split, tmp_path) as asked:
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


EPOCHS = {"generated": (1, 1), MOVIELENS: (15, 3), "lastfm": (15, 3), "douban-book": (5, 1)}
"""Epochs, and seeds."""


@pytest.mark.parametrize(
    ("model", "data"),
    [(model, data) for model in MODELS[:1] for data in DATA] + ([] if SMOKE else [("LightGCN", MOVIELENS)]),
)
def test_equal_recall(data: str, model: str, tmp_path: Path) -> None:
    """The same epochs on the same pairs, the last one judged by one ranking for all: our speed costs no quality."""
    split = split_of(data)
    if isinstance(split, str):
        pytest.skip(split)
    epochs, seeds = EPOCHS[data]
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        with workers(model, split, tmp_path, seed) as asked:
            for name, worker in asked.items():
                worker.ask("train", epochs)
                found.setdefault(name, []).append(recall(split, *worker.embeddings()))
    means = {name: f"{fmean(values):.4f}{spread(values)}" for name, values in found.items()}
    what = f"recall@20 on test after {epochs} epochs, {seeds} seed(s), mean ± std; train and val masked, one ranking"
    save(f"recall of {model} on {data}", {"what": what, "recall@20": means, "target": f"{RECALL} of the frameworks'"})
    if not SMOKE:
        for name in found.keys() & {"selfrec", "recbole"}:
            assert fmean(found["ours"]) >= RECALL * fmean(found[name])


def spread(values: list[float]) -> str:
    return f" ± {stdev(values):.4f}" if len(values) > 1 else ""


def recall(split: Split, users: np.ndarray, items: np.ndarray) -> float:
    seen = matrix(split, np.concatenate([split.train, split.val]))
    scores = dot_scores(torch.from_numpy(users), torch.from_numpy(items))
    return float(full_ranking(scores, seen, matrix(split, split.test), 20).recall(20).mean())


def matrix(split: Split, pairs: np.ndarray) -> csr_array:
    ones = np.ones(len(pairs), np.float32)
    return csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(split.n_users, split.n_items))


@pytest.mark.parametrize("framework", ["selfrec", "recbole"])
def test_frameworks_agree_on_what_recall_is(framework: str, tmp_path: Path) -> None:
    """Their own evaluation of their embeddings, and ours of the same."""
    split: Any = split_of("generated" if SMOKE else MOVIELENS)
    if isinstance(split, str) or absent(framework):
        pytest.skip(split if isinstance(split, str) else absent(framework))
    if framework == "selfrec":  # it masks train alone, and leaves out what train does not have
        known = [np.isin(split.test[:, side], split.train[:, side]) for side in (0, 1)]
        split = Split(split.train, split.val[:0], split.test[known[0] & known[1]], split.n_users, split.n_items)
    with Worker(framework, "LightGCN", split.save(tmp_path / "pairs.npz")) as worker:
        worker.ask("train", 1)
        theirs = worker.ask("rank")["value"]
        assert recall(split, *worker.embeddings()) == pytest.approx(theirs, abs=2e-4)


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into graphrec.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("graphrec", RESULTS)
