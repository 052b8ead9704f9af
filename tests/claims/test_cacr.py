"""Claim (CACR): weighing positives and negatives among themselves pays, the more where classes are imbalanced.

Five views for every arm but one, which has two and as many more epochs that it sees as many views. Settings are chosen
on val at a seed that is not measured, from a grid of each objective's own. Imbalanced: of class ``i`` of C the
training keeps a share of (i + 1) / C; the probe is trained and measured on all classes alike.
"""

from __future__ import annotations

import dataclasses
import itertools
from statistics import fmean
from typing import Any

import numpy as np
import pytest

import claims
from counterpoint_vision.data import ImageArrays

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
LINEAR = "linear[lbfgs]"
METRICS = (claims.KNN,) if claims.SMOKE else (LINEAR, claims.KNN)
BALANCED = "cifar10-small"
BASE = ("vision/simclr", "--config", "configs/vision/cacr-cpu.yaml")
RATES = ("0.001", "0.003", "0.01")
TEMPERATURES = tuple(f"--method.objective InfoNCE --method.objective.temperature {t}" for t in ("0.1", "0.2"))
UNIFORM = "--method.objective CACR --method.objective.t_pos 0 --method.objective.t_neg 0"
WEIGHTED = "--method.objective CACR --method.objective.t_neg"
ARMS = {
    "InfoNCE": TEMPERATURES,
    "alignment and uniformity": (f"{UNIFORM} --method.objective.cost rbf",),
    "CACR, uniform weights": (UNIFORM,),
    "CACR": tuple(f"{WEIGHTED} {t}" for t in ("0.9", "2.0", "4.0")),
}
TWO = "--views.views 2 --epochs 15"
"""Two views, as many passes: 15 times 2 for 6 times 5."""


def imbalanced() -> str:
    """The training images of class i of C thinned to a share of (i + 1) / C, the rest as it is; made once."""
    if claims.SMOKE:
        return BALANCED
    place = claims.place("imbalanced") / "imbalanced.npz"
    if not place.is_file():
        data, rng = ImageArrays(BALANCED), np.random.default_rng(0)
        splits, labels = data.splits(), np.asarray(data.labels)
        classes = [splits["train"][labels[splits["train"]] == c] for c in range(10)]
        thin = [rng.permutation(rows)[: round(len(rows) * (c + 1) / 10)] for c, rows in enumerate(classes)]
        claims.write_images(place, data, {**splits, "train": np.concatenate(thin)}, labels)
    return str(place)


def words(data: str, options: str) -> tuple[str, ...]:
    """Options of one training."""
    return (*BASE, "--data", data, *options.split())


def chosen(name: str) -> tuple[str, dict[str, float]]:
    """The best settings of one objective on val, balanced, and what each gave."""
    grid = [f"{own} --optimization.lr {rate}" for own, rate in itertools.product(ARMS[name], RATES)]
    tried = {words(BALANCED, options): options for options in (grid[:1] if claims.SMOKE else grid)}
    best, values = claims.choose(list(tried), TUNING)
    return tried[best], {tried[key]: value for key, value in zip(tried, values.values())}


def arm(options: str, data: str) -> dict[str, Any]:
    """What one objective reaches on the balanced test part, and how sharp its weights were."""
    asked = words(data, options)
    found = claims.finals(asked, SEEDS, quick=claims.SMOKE, data=None if data == BALANCED else BALANCED)
    told: dict[str, Any] = {
        "command": "counterpoint pretrain " + " ".join(asked),
        "test": {metric: claims.values(found, metric=metric) for metric in METRICS},
        "untrained": claims.values(found, "untrained", METRICS[0]),
        "seconds": [one["seconds"] for one in found],
        "steps": found[0]["steps"],
    }
    if "CACR" in options:
        for kind in ("positive", "negative"):
            told[f"sharpness, {kind}"] = [claims.curve(asked, seed, f"parts/sharpness_{kind}") for seed in SEEDS]
    return told


def test_attraction_and_repulsion_weigh() -> None:
    result: dict[str, Any] = {"claim": "CACR above its uniform weights", "seeds": list(SEEDS), "tuning seed": TUNING}
    settings = {name: chosen(name) for name in (list(ARMS)[3:] if claims.SMOKE else ARMS)}
    asked = {name: options for name, (options, _) in settings.items()}
    asked["CACR, two views"] = f"{asked['CACR']} {TWO}"
    arms: dict[str, dict[str, Any]] = {"balanced": {}, "imbalanced": {}}
    result |= {"chosen on val": {name: tried for name, (_, tried) in settings.items()}, **arms}
    for share, data in (("balanced", BALANCED), ("imbalanced", imbalanced())):
        for name, options in asked.items():
            if share == "balanced" or name in ("InfoNCE", "CACR, uniform weights", "CACR"):
                arms[share][name] = arm(options, data)
                claims.write("objectives-cacr", result)
    if claims.SMOKE:
        return
    linear = {share: {name: one["test"][LINEAR] for name, one in found.items()} for share, found in arms.items()}
    gains = {
        f"CACR - {other}, {share}": claims.gain(linear[share]["CACR"], values)
        for share in linear
        for other, values in linear[share].items()
        if other != "CACR"
    }
    drops = {name: fmean(linear["balanced"][name]) - fmean(linear["imbalanced"][name]) for name in ("CACR", "InfoNCE")}
    told = {name: dataclasses.asdict(gain) for name, gain in gains.items()}
    claims.write("objectives-cacr", {**result, "gains": told, "drop by imbalance": drops})
    error = {name: gain.difference.std / len(SEEDS) ** 0.5 for name, gain in gains.items()}
    uniform, multi = "CACR - CACR, uniform weights, balanced", "CACR - InfoNCE, balanced"
    claims.expect(lambda: gains[uniform].difference.mean > 2 * error[uniform], f"{uniform}: {told}")
    claims.expect(lambda: gains[multi].difference.mean >= -error[multi], f"{multi}: {told}")
    claims.expect(lambda: drops["CACR"] <= drops["InfoNCE"], f"accuracy lost by imbalance: {drops}")
