"""Claims: in MoCo's frame, on data with many classes, mixing hard negatives (MoCHi, Kalantidis et al. 2020) and feature
transformation (Zhu et al. 2021) are no worse than MoCo, and do what their papers say they do.

Product photographs of 58 article types: 4,500 for training, 500 for val, 1,000 for the test. All arms: the same
encoder, views, queue and epochs. Learning rate, temperature, and for MoCHi how much is mixed, are chosen on val at a
seed that is not measured. The mechanisms are read from the same runs: MoCHi's mixtures are harder than the hardest
negatives, its embeddings more uniform, its own task harder; feature transformation lowers the positive's score and the
negatives' variance at every step, and leaves a raw positive's score higher than MoCo's. A temperature alone changes all
of these, so a mechanism is compared with MoCo's *at the same temperature*, the best of its rates. Ten classes
(CIFAR-10; objective and temperature as chosen, the rate chosen anew) are MoCHi's control: there most of the hardest
negatives are of the anchor's own class.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest

import claims

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2, 3, 4)
RATES = ("0.003",) if claims.SMOKE else ("0.002", "0.005", "0.01")
TEMPERATURES = ("0.2",) if claims.SMOKE else ("0.1", "0.2")
FRAME = (
    "--epochs 20 --batch_size 128 --encoder SlimResNet --encoder.width 16 --method.queue_size 2048 "
    "--views SimCLRViews --views.size 24 --views.scale [0.5,1.0] --views.strength 0.25 --views.gray_p 0.1"
)
OBJECTIVE = "--method.objective"
TEMPERATURE = f"{OBJECTIVE}.temperature"
MOCO = f"{OBJECTIVE} InfoNCE {OBJECTIVE}.symmetric false {OBJECTIVE}.in_batch false"
MOCHI = f"{OBJECTIVE} MoCHi {OBJECTIVE}.warmup 0.15 {OBJECTIVE}.hardest"
SIZES = ("128 {0}.mixed 128 {0}.query_mixed 32", "64 {0}.mixed 32 {0}.query_mixed 0")
FT = f"{OBJECTIVE} FeatureTransform {OBJECTIVE}.warmup 0.05"
ARMS = {
    "MoCo": [MOCO],
    "MoCHi": [f"{MOCHI} {size.format(OBJECTIVE)}" for size in SIZES],
    "feature transformation": [FT],
    "positive extrapolation": [f"{FT} {OBJECTIVE}.interpolate null"],
    "negative interpolation": [f"{FT} {OBJECTIVE}.extrapolate null"],
}
if claims.SMOKE:
    ARMS = {name: ARMS[name][:1] for name in ("MoCo", "MoCHi", "feature transformation")}
SAME = "MoCo at the same temperature"
TEN = "cifar10-small"
FEW_EACH = "knn[k=16,T=0.07]"
"""Of the photographs: no more neighbours than the smallest class has."""
GEOMETRY = ("uniformity", "alignment")
LOGGED = ("batch/positive", "parts/p_positive")
"""Over the steps: cosine of the positive as the encoder gives it; its probability among the negatives."""


@functools.cache
def products() -> str:
    """The photographs as files with a table of article types, written once."""
    if claims.SMOKE:
        return "photographs"
    import numpy as np

    from counterpoint.parts import data_home

    folder = claims.place("products")
    table = folder / "products.csv"
    if not table.is_file():
        found = np.load(data_home() / "multimodal" / "fashion-products" / "fashion_products.npz", allow_pickle=False)
        packed, cuts, text = found["image_jpeg"], found["image_offset"], io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["path", "label", "split"])
        for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
            (folder / f"{number}.jpg").write_bytes(packed[start:stop].tobytes())
            split = "val" if found["split"][number] == "train" and number % 10 == 0 else found["split"][number]
            lines.writerow([f"{number}.jpg", found["article_type"][number], split])
        table.write_text(text.getvalue(), encoding="utf-8")
    return str(table)


Arm = tuple[tuple[str, ...], dict[str, Any]]
"""The chosen words, and what was found."""


def arm(options: list[str], data: str, temperatures: Sequence[str] = TEMPERATURES) -> Arm:
    """Tune one arm on val, measure it on test."""
    grid = [
        (
            "vision/moco",
            "--data",
            data,
            *FRAME.split(),
            *one.split(),
            TEMPERATURE,
            temperature,
            "--optimization.lr",
            rate,
        )
        for one, temperature, rate in itertools.product(options, temperatures, RATES)
    ]
    knn = claims.KNN if claims.SMOKE or data == TEN else FEW_EACH
    best, tried = claims.choose(grid, TUNING, knn)
    found = claims.finals(best, SEEDS, quick=True)
    return best, {
        "command": "counterpoint pretrain " + " ".join(best),
        "chosen on val": tried,
        "seeds": list(SEEDS),
        "metric": knn,
        "test": claims.values(found, metric=knn),
        "untrained": claims.values(found, "untrained", knn),
        "raw input": claims.values(found, "raw input", knn),
        "geometry": {name: claims.values(found, metric=name) for name in GEOMETRY},
        "curves": {metric: claims.mean_curve(best, SEEDS, metric) for metric in LOGGED},
        "seconds": [one["seconds"] for one in found],
        "steps": found[0]["steps"],
    }


def beside(words: tuple[str, ...]) -> Arm:
    """MoCo at the temperature of ``words``."""
    return arm(ARMS["MoCo"], words[words.index("--data") + 1], [words[words.index(TEMPERATURE) + 1]])


def again(words: tuple[str, ...], data: str) -> dict[str, Any]:
    """The same objective and temperature on other data, with a rate of its own."""
    objective = words[words.index(OBJECTIVE) : words.index(TEMPERATURE)]
    return arm([" ".join(objective)], data, [words[words.index(TEMPERATURE) + 1]])[1]


def late(words: tuple[str, ...], seeds: tuple[int, ...], metric: str) -> list[float]:
    """Mean over the last fifth of the logged steps, seed by seed; NaN where none is logged (a smoke run's warm-up)."""
    curves = [[value for _, value in claims.curve(words, seed, metric)] for seed in seeds]
    return [fmean(curve[-max(1, len(curve) // 5) :]) if curve else math.nan for curve in curves]


def below_at_every_step(words: tuple[str, ...], seeds: tuple[int, ...], low: str, high: str) -> bool:
    """Whether one logged metric lies below another wherever both were logged."""
    for seed in seeds:
        under, over = (dict(claims.curve(words, seed, metric)) for metric in (low, high))
        both = under.keys() & over.keys()
        if not both or not all(under[step] < over[step] for step in both):
            return False
    return True


def gain(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[dict[str, Any], bool, bool]:
    """Paired difference in kNN; whether most seeds agree on a gain beyond a standard error; whether there is a loss."""
    found = claims.gain(ours["test"], theirs["test"])
    error = found.difference.std / len(ours["test"]) ** 0.5
    wins = sum(a > b for a, b in zip(ours["test"], theirs["test"]))
    gained = found.difference.mean > error and wins >= 0.8 * len(ours["test"])
    return dataclasses.asdict(found), gained, found.difference.mean < -error


def test_mixed_hard_negatives_help_or_at_least_spread_the_embeddings() -> None:
    bare, plain = arm(ARMS["MoCo"], products())
    mochi, mixed = arm(ARMS["MoCHi"], products())
    moco, same = beside(mochi)
    difference, gained, lost = gain(mixed, plain)
    hardest, made = (late(mochi, SEEDS, f"parts/negative_{name}") for name in ("hardest", "mixed"))
    task = {name: late(words, SEEDS, "parts/p_positive") for name, words in ((SAME, moco), ("MoCHi", mochi))}
    few = products() if claims.SMOKE else TEN
    control = {"MoCo": again(bare, few), "MoCHi": again(mochi, few)}
    result = {
        "claim": "MoCHi at or above MoCo on many classes, its mixtures harder than what they are mixed from",
        "tuning seed": TUNING,
        "arms": {"MoCo": plain, "MoCHi": mixed, SAME: same},
        "gain": difference,
        "cosine of the hardest negatives": hardest,
        "cosine of the mixtures": made,
        "probability of the positive": task,
        "ten classes": control | {"gain": gain(control["MoCHi"], control["MoCo"])[0]},
    }
    claims.write("hard-negatives", result)
    claims.expect(lambda: all(m > h for m, h in zip(made, hardest)), f"mixtures {made}, hardest {hardest}")
    claims.expect(lambda: fmean(task["MoCHi"]) < fmean(task[SAME]), f"probability of the positive: {task}")
    spread = {name: fmean(one["geometry"]["uniformity"]) for name, one in result["arms"].items()}  # type: ignore[attr-defined]
    claims.expect(lambda: gained or (not lost and spread["MoCHi"] < spread[SAME]), f"{difference}, {spread}")


def test_transformed_features_help_or_at_least_bring_views_together() -> None:
    found = {name: arm(options, products()) for name, options in ARMS.items() if name != "MoCHi"}
    both = "feature transformation"
    found[SAME] = beside(found[both][0])
    words = {name: chosen for name, (chosen, _) in found.items()}
    arms = {name: measured for name, (_, measured) in found.items()}
    difference, gained, lost = gain(arms[both], arms["MoCo"])
    raw = {name: late(words[name], SEEDS, "batch/positive") for name in (both, SAME)}
    held = {
        "a raw positive scores higher than MoCo's at the end": fmean(raw[both]) > fmean(raw[SAME]),
        "a transformed positive scores lower at every step": below_at_every_step(
            words[both], SEEDS, "parts/positive_transformed", "parts/positive"
        ),
        "interpolated negatives' scores vary less at every step": below_at_every_step(
            words[both], SEEDS, "parts/negative_variance_transformed", "parts/negative_variance"
        ),
    }
    result = {
        "claim": "feature transformation at or above MoCo, by harder positives and more even negatives",
        "tuning seed": TUNING,
        "arms": arms,
        "gain": difference,
        "gains": {name: gain(one, arms["MoCo"])[0] for name, one in arms.items() if name not in ("MoCo", SAME)},
        "raw positive score at the end": raw,
        "mechanism": held,
    }
    claims.write("feature-transformation", result)
    claims.expect(lambda: gained or (not lost and all(held.values())), f"{difference}, {held}")
