"""Recommenders: the same recall as the frameworks', after the same epochs on the same pairs, and what recall is."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

import measure
import numpy as np
import pytest
import torch
from recommenders.case import Split
from recommenders.sources import DRAWN, MOVIELENS, source
from recommenders.worker import Worker, absent, started
from scipy.sparse import csr_array

from counterpoint.evaluation.ranking import dot_scores, full_ranking
from counterpoint_graphrec.protocol import spread as uniformity

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
CASES = [("XSimGCL", MOVIELENS, 15, 5), ("LightGCN", MOVIELENS, 60, 5), ("XSimGCL", "lastfm", 20, 3)]
CASES += [("LightGCN", "lastfm", 60, 3), ("XSimGCL", "douban-book", 4, 1), ("LightGCN", "douban-book", 3, 1)]
"""Model, data, epochs, seeds."""
FRAMEWORKS = {"XSimGCL": ("ours", "selfrec"), "LightGCN": ("ours", "selfrec", "recbole")}
SHARE = 0.98
NOISE = [(weight, eps) for weight in (0.2, 0.05) for eps in (0.0, 0.1, 0.2, 0.5)]
RESULTS: dict[str, object] = {}


def pairs_of(name: str) -> Split:
    """The pairs, or skip."""
    split = source(name)
    if not isinstance(split, Split):
        pytest.skip(split)
    return split


@pytest.mark.parametrize(("model", "data", "epochs", "seeds"), [("XSimGCL", "generated", 1, 1)] if SMOKE else CASES)
def test_equal_recall(model: str, data: str, epochs: int, seeds: int, tmp_path: Path) -> None:
    """The last epoch of each, its embeddings judged by one ranking: our speed costs no quality."""
    split = pairs_of(data)
    path = split.save(tmp_path / "pairs.npz")
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        with started(FRAMEWORKS[model], model, path, seed) as asked:
            for name, worker in asked.items():
                worker.ask("train", epochs)
                found.setdefault(name, []).append(recall(split, *worker.embeddings()))
    means = {name: f"{fmean(values):.4f}{spread(values)}" for name, values in found.items()}
    what = f"recall@20 on test after {epochs} epochs, {seeds} seed(s), mean ± std; train and val masked, one ranking"
    save(f"{model} on {data}", {"what": what, "recall@20": means, "target": f"{SHARE} of the frameworks'"})
    if not SMOKE:
        for name in found.keys() - {"ours"}:
            assert fmean(found["ours"]) >= SHARE * fmean(found[name])


def spread(values: list[float]) -> str:
    return f" ± {stdev(values):.4f}" if len(values) > 1 else ""


def recall(split: Split, users: np.ndarray, items: np.ndarray) -> float:
    seen = matrix(split, np.concatenate([split.train, split.val]))
    scores = dot_scores(torch.from_numpy(users), torch.from_numpy(items))
    return float(full_ranking(scores, seen, matrix(split, split.test), 20).recall(20).mean())


def matrix(split: Split, pairs: np.ndarray) -> csr_array:
    ones = np.ones(len(pairs), np.float32)
    return csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(split.n_users, split.n_items))


def test_noise_does_the_same(tmp_path: Path) -> None:
    """Recall and uniformity of XSimGCL by noise and weight: what noise does here, it does in the published code."""
    split, epochs = pairs_of("generated" if SMOKE else DRAWN), 1 if SMOKE else 20
    path, train = split.save(tmp_path / "pairs.npz"), matrix(split, split.train)
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for weight, eps in NOISE[:1] if SMOKE else NOISE:
        with started(("ours", "selfrec"), "XSimGCL", path) as asked:
            for name, worker in asked.items():
                worker.ask("contrast", {"weight": weight, "eps": eps})
                worker.ask("train", epochs)
                users, items = worker.embeddings()
                found = uniformity(torch.from_numpy(users), torch.from_numpy(items), train)
                told = {"recall@20": round(recall(split, users, items), 4), "uniformity": round(found, 4)}
                rows.setdefault(f"weight {weight}, eps {eps}", {})[name] = told
        save(f"noise on {DRAWN}", {"what": f"on test after {epochs} epochs, one seed, three layers", "rows": rows})
    if not SMOKE:
        for told in rows.values():
            for one in told.values():
                assert one["uniformity"] == pytest.approx(told["ours"]["uniformity"], abs=0.05)
                assert one["recall@20"] == pytest.approx(told["ours"]["recall@20"], rel=0.1, abs=0.003)


@pytest.mark.parametrize("framework", ["selfrec", "recbole"])
def test_frameworks_agree_on_what_recall_is(framework: str, tmp_path: Path) -> None:
    """Their own evaluation of their embeddings, and ours of the same."""
    if missing := absent(framework):
        pytest.skip(missing)
    split = pairs_of("generated" if SMOKE else MOVIELENS)
    if framework == "selfrec":  # it masks train alone, and leaves out what train does not have
        known = [np.isin(split.test[:, side], split.train[:, side]) for side in (0, 1)]
        split = Split(split.train, split.val[:0], split.test[known[0] & known[1]], split.n_users, split.n_items)
    with Worker(framework, "LightGCN", split.save(tmp_path / "pairs.npz")) as worker:
        worker.ask("train", 1)
        theirs = worker.ask("rank")["value"]
        assert recall(split, *worker.embeddings()) == pytest.approx(theirs, abs=2e-4)


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into graphrec_recall.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("graphrec_recall", RESULTS)
