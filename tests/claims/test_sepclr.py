"""Claim: SepCLR puts digits that lie over photographs into one space and the photographs into the other.

Background: real photographs at half brightness; targets: other photographs under real handwritten digits. What trains
is told only which is which. Probes, on the targets of the test part: the digit should be found in the salient space and
be at chance in the common one, the photograph's class the other way round, the origin in the salient one.
Arms: SepCLR; SepCLR without its joint entropy; two SimCLR encoders of other seeds, which is the same network twice
without anything that separates. Equal epochs; the weight of SepCLR's joint entropy, and SimCLR's learning rate, are
chosen on val, by the distance from the ideal, at a seed that is not measured.

Chosen in trials on val, one seed: the weight of the joint entropy, 10 in the paper, is 10 or 30 here. At 100 all is
nearer to the ideal, but the common space hardly keeps the photograph's class. Encoders of half the plugin's width and
no narrower code: 16 numbers hold back the digit too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest
import torch

import claims
from counterpoint.evaluation.two_space import Found, delta_total, two_space_probe
from counterpoint.run import Run
from counterpoint.training.contrasted import Contrasted
from overlays import Overlay, overlay

pytestmark = pytest.mark.claim

TUNING = 0 if claims.SMOKE else 100  # a smoke run trains each arm once
SEEDS = (0,) if claims.SMOKE else (0, 1, 2, 3, 4)
FRAME = (
    "--epochs 40 --batch_size 128 --optimization.name adam --optimization.weight_decay 0 "
    "--views SimCLRViews --views.size 24 --views.scale [0.4,1.0] --views.flip 0 --encoder SlimResNet --encoder.width 16"
)
OURS = "--method.code null --optimization.lr 0.003 --method.objective SepCLR --method.objective.entropy_weight"
ARMS = {
    "SepCLR": ("vision/sepclr", [f"{OURS} {weight}" for weight in (10, 30)]),
    "SepCLR without joint entropy": ("vision/sepclr", [f"{OURS} 0"]),
    "two SimCLR encoders": ("vision/simclr", [f"--optimization.lr {rate}" for rate in (0.001, 0.003)]),
}
"""Recipe, and the options of which one is chosen."""
FACTORS = {"digit": "salient", "photograph": "common", "origin": "salient"}
POINTS = 0.30


@functools.cache
def data() -> Overlay:
    source, most = ("photographs", 60) if claims.SMOKE else ("cifar10-small", None)
    return overlay(source, claims.place(f"overlay-{source}"), most=most)


def words(arm: str, options: str) -> tuple[str, ...]:
    recipe = ARMS[arm][0]
    sources = ("--background", str(data().background), "--target", str(data().target))
    return (recipe, *FRAME.split(), *sources, *options.split())


def runs(arm: str, options: str, seed: int) -> list[Run]:
    """One run with two spaces, or two runs, one for each."""
    seeds = (seed, seed + 1000) if arm == "two SimCLR encoders" else (seed,)
    return [Run(claims.trained(claims.Trial(words(arm, options), one))) for one in seeds]


def probes(found: Sequence[Run], split: str, seed: int) -> dict[str, Found]:
    """What is found in which space, on ``split``."""
    dataset = found[0].open()
    assert isinstance(dataset, Contrasted)
    codes: dict[str, dict[str, torch.Tensor]] = {"common": {}, "salient": {}}
    labels: dict[str, dict[str, torch.Tensor]] = {factor: {} for factor in FACTORS}
    for part in ("train", split) if split == "val" else ("train", "val", "test"):
        rows = dataset.splits()[part]
        features = [run.features(dataset, rows.tolist()).features for run in found]
        spaces = dict(zip(codes, features)) if len(found) > 1 else found[0].encoder.split(features[0])
        origin = torch.from_numpy(dataset.origins[rows])
        photographs = torch.full_like(origin, -1)
        photographs[origin == 1] = torch.from_numpy(data().photographs[part]).long()
        told = {"origin": origin, "photograph": photographs}
        told["digit"] = torch.from_numpy(dataset.factors()["class"].labels[rows])
        for space, code in spaces.items():
            codes[space][part] = code
        for factor, values in told.items():
            labels[factor][part] = values
    return two_space_probe(codes, labels, FACTORS, split=split, seed=seed)


def chosen(arm: str) -> tuple[str, dict[str, float]]:
    """The options that are nearest to the ideal on val, and the distance of each."""
    options = ARMS[arm][1][: 1 if claims.SMOKE else None]
    tried = {one: delta_total(probes(runs(arm, one, TUNING), "val", TUNING)) for one in options}
    return min(tried, key=lambda one: tried[one]), tried


def norms(run: Run) -> dict[str, float]:
    """Length of the salient codes at the end of the training; nothing for one space."""
    last = {part: claims.read_metrics(run.path).get(f"parts/{part}_norm") for part in ("background", "target")}
    return {part: points[-1][1] for part, points in last.items() if points}


def measured(arm: str) -> dict[str, Any]:
    options, tried = chosen(arm)
    found = {seed: runs(arm, options, seed) for seed in SEEDS}
    answers = [probes(pair, "test", seed) for seed, pair in found.items()]
    return {
        "command": "counterpoint pretrain " + " ".join(words(arm, options)),
        "delta_tot on val": tried,
        "balanced accuracy": {
            f"{factor} from {space}": [one[factor].accuracy[space] for one in answers]
            for factor, space in itertools.product(FACTORS, ("common", "salient"))
        },
        "delta_tot": [delta_total(one) for one in answers],
        "salient norm": [norms(pair[0]) for pair in found.values()],
    }


def test_digits_and_photographs_come_apart() -> None:
    arms = {arm: measured(arm) for arm in ARMS}
    ours = arms["SepCLR"]
    result: dict[str, Any] = {"claim": "SepCLR separates digits from the photographs below", "seeds": list(SEEDS)}
    result |= {"tuning seed": TUNING, "arms": arms, "gain": {}}
    for other in itertools.islice(ARMS, 1, None):
        difference = claims.gain(arms[other]["delta_tot"], ours["delta_tot"])
        result["gain"][f"nearer to the ideal than {other}"] = {"mean": difference.difference.mean, "p": difference.p}
    path = claims.write("sepclr", result)
    assert path.is_file()
    mean = {name: fmean(values) for name, values in ours["balanced accuracy"].items()}
    apart = mean["digit from salient"] - mean["digit from common"]
    claims.expect(lambda: apart >= POINTS, f"digit: {apart:.3f} above the common space, {POINTS} wanted; {mean}")
    claims.expect(lambda: mean["photograph from common"] > mean["photograph from salient"], f"{mean}")
    simclr = fmean(arms["two SimCLR encoders"]["balanced accuracy"]["digit from salient"])
    claims.expect(lambda: mean["digit from salient"] > simclr - 0.05, f"{mean}; SimCLR {simclr:.3f}")
    claims.expect(lambda: all(g["mean"] > 0 for g in result["gain"].values()), f"{result['gain']}")
