"""Claim (SimGCL, XSimGCL): contrast between noisy embeddings ranks better than LightGCN, sooner, and along the tail.

On a draw of douban-book's users, thinned to its 5-core, and on amazon-beauty. Every model has the same number of trials
on val, at a seed that is not measured, the same longest training and the same patience; what is measured on test is the
epoch that was best on val. The seeds draw the split as well as the weights, the same for every model.
"""

from __future__ import annotations

import dataclasses
import itertools
from statistics import fmean
from typing import Any

import pytest

import claims

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
RECALL, NDCG, TAIL = "recall@20", "ndcg@20", "recall@20,unpopular"
SHOWN = (RECALL, NDCG, TAIL, "coverage@20", "novelty@20", "uniformity")
BUDGET = ("--epochs", "200", "--monitor_epochs", "2", "--patience", "10")
DATA = {
    "douban-book": ("--data", "douban-book", "--dataset.split", "random", "--dataset.draw_users", "3000"),
    "amazon-beauty": ("--data", "amazon-beauty", "--dataset.split", "random"),
}
CORE = ("--dataset.core", "5")
LAYERS = ("--encoder.layers", "2")
DECAYS = tuple(f"--method.lambda2 {value}" for value in ("1e-5", "1e-4", "1e-3", "1e-2"))
WEIGHTS = tuple(f"--method.weight {value}" for value in ("0.01", "0.05", "0.1", "0.2"))
GRID = {"lightgcn": DECAYS, "sgl": WEIGHTS, "simgcl": WEIGHTS, "xsimgcl": WEIGHTS}
"""The trials of each model: four, of what matters most to it."""
LONGER = {"douban-book": "--epochs 800"}
"""Where the budget ended LightGCN's training: again with what was chosen, until patience ends it."""
MODELS = ("lightgcn", "xsimgcl") if claims.SMOKE else tuple(GRID)
STRENGTHS = ("0.2", "0.05", "0.01")
"""Weights of the contrast under which noise is varied: the default, what val chose, and little."""
NOISE = ("0.0", "0.05", "0.1", "0.2", "0.5")


def words(model: str, data: str, seed: int, options: str = "") -> tuple[str, ...]:
    """Options of one training; the split is drawn by the seed too."""
    return (f"graphrec/{model}", *DATA[data], *CORE, "--dataset.seed", str(seed), *LAYERS, *BUDGET, *options.split())


def arm(model: str, data: str) -> dict[str, Any]:
    """What one model reaches on test, how it was tuned, and when its best epoch came."""
    grid = GRID[model][:1] if claims.SMOKE else GRID[model]
    tried = {words(model, data, TUNING, options): options for options in grid}
    best, values = claims.choose(list(tried), TUNING, RECALL)
    chosen = {tried[key]: value for key, value in zip(tried, values.values())}
    return {**measured(model, data, tried[best]), "chosen on val": chosen}


def measured(model: str, data: str, options: str) -> dict[str, Any]:
    """What one model with its options reaches on test, and when its best epoch came."""
    found = [claims.finals(words(model, data, seed, options), [seed], quick=True)[0] for seed in SEEDS]
    return {
        "command": "counterpoint pretrain " + " ".join(words(model, data, 0, options)),
        "test": {metric: claims.values(found, metric=metric) for metric in SHOWN},
        "popularity": {metric: claims.values(found, "popularity", metric) for metric in (RECALL, NDCG, TAIL)},
        "epochs to best": [one["selected"]["epoch"] + 1 for one in found],
        "seconds": [one["seconds"] for one in found],
        "steps": [one["steps"] for one in found],
        "curves": [claims.curve(words(model, data, seed, options), seed, f"val/{RECALL}") for seed in SEEDS],
    }


@pytest.mark.parametrize("data", list(DATA)[:1] if claims.SMOKE else DATA)
def test_contrast_between_noisy_embeddings_ranks_better(data: str) -> None:
    arms: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = {"claim": "XSimGCL above LightGCN", "data": data, "seeds": list(SEEDS)}
    for model in MODELS:
        arms[model] = arm(model, data)
        claims.write(f"graphrec-{data}", {**result, "tuning seed": TUNING, "arms": arms})
    if data in LONGER and not claims.SMOKE:
        tried = arms["lightgcn"]["chosen on val"]
        arms["lightgcn-longer"] = measured("lightgcn", data, f"{max(tried, key=lambda o: tried[o])} {LONGER[data]}")
    gains = {
        f"xsimgcl - {other}, {metric}": claims.gain(arms["xsimgcl"]["test"][metric], arms[other]["test"][metric])
        for other, metric in itertools.product([arm for arm in arms if arm != "xsimgcl"], (RECALL, NDCG, TAIL))
    }
    told = {name: dataclasses.asdict(gain) for name, gain in gains.items()}
    claims.write(f"graphrec-{data}", {**result, "tuning seed": TUNING, "arms": arms, "gains": told})
    for metric in (RECALL, NDCG):
        for o in [arm for arm in arms if arm.startswith("lightgcn")]:
            claims.expect(lambda m=metric, o=o: gains[f"xsimgcl - {o}, {m}"].difference.low > 0, f"{metric}: {told}")
        means = {model: fmean(arms[model]["test"][metric]) for model in MODELS}
        claims.expect(lambda m=means: m["xsimgcl"] >= 0.99 * m["simgcl"], f"{metric}: {means}")
        claims.expect(lambda m=means: m["xsimgcl"] >= m["sgl"], f"{metric}: {means}")
    claims.expect(lambda: gains[f"xsimgcl - lightgcn, {TAIL}"].difference.mean > 0, f"the tail: {told}")
    epochs = {model: fmean(arms[model]["epochs to best"]) for model in ("xsimgcl", "lightgcn")}
    claims.expect(lambda: epochs["xsimgcl"] < 0.5 * epochs["lightgcn"], f"epochs to the best: {epochs}")


def test_uniformity_falls_with_the_noise() -> None:
    """At one seed and one number of epochs, by weight; the row without noise is contrast between layers alone."""
    weights: dict[str, dict[str, dict[str, float]]] = {}
    for weight in STRENGTHS[:1] if claims.SMOKE else STRENGTHS:
        for noise in NOISE[:1] if claims.SMOKE else NOISE:
            options = f"--method.eps {noise} --method.weight {weight} --epochs 20 --select null --patience null"
            found = claims.finals(words("xsimgcl", "douban-book", 0, options), [0], quick=True)[0]
            row = {metric: found["rows"]["learnt"][metric] for metric in SHOWN}
            weights.setdefault(weight, {})[noise] = row
    told = {"claim": "uniformity falls with the noise", "data": "douban-book", "weights": weights}
    claims.write("graphrec-noise", told)
    for weight, rows in weights.items():
        falls = [row["uniformity"] for row in rows.values()]
        steps = list(itertools.pairwise(falls))
        claims.expect(lambda s=steps: all(b < a for a, b in s), f"weight {weight}, uniformity by noise: {falls}")
