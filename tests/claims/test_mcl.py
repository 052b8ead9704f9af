"""Claim (MCL): a second stage finds what an easy feature suppressed, and nothing that was learnt is lost.

Grey photographs with a code in two further channels (a tint of eight), which augmentation leaves alone: the first stage
tells samples apart by the code. The encoders of two stages side by side are compared, by a linear probe of the class
and one of the code, with two independent runs side by side (equal size and cost) and with one run twice as long. Where
all have one code, the gain should shrink towards that of an ensemble. The same for CLIP, whose captions name class and
tint. The clusters are chosen on val at a seed that is not measured.

Encoders normalise by groups of channels, in every arm: where a batch comes from one cell, a norm over the batch takes
the code away by itself, the encoder never learns to ignore it, and in a batch of all codes it is lost.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

import claims
import coded
from claims import Trial
from counterpoint.evaluation.clustering import kmeans
from counterpoint.evaluation.linear import linear_probe
from counterpoint.parts import Dataset
from counterpoint.run import Run

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
CLUSTERS = (2,) if claims.SMOKE else (4, 8)
OTHER = 1000
"""Added to a seed: the second run of an ensemble."""
EPOCHS = {"vision": 10, "multimodal": 6}
VISION = ("--batch_size", "128", "--views.scale", "[0.3,1.0]", "--views.jitter_p", "0", "--views.gray_p", "0")
GROUPS = ("--encoder", "SlimResNet", "--encoder.norm", "group")
WORDS = {
    "vision": ("vision/simclr", *VISION, *GROUPS, "--optimization.lr", "0.002"),
    "multimodal": (
        "multimodal/clip",
        *("--batch_size", "128", "--encoder.image_options.width", "32", "--encoder.image_options.norm", "group"),
    ),
}
CLASS, CODE = "class", "code"
Score = dict[str, dict[str, float]]
"""Representation -> factor -> accuracy of a linear probe."""


def words(kind: str, data: str, epochs: int) -> tuple[str, ...]:
    """Options of a plain run."""
    return (*WORDS[kind], "--data", data, "--epochs", str(epochs))


def staged(plain: tuple[str, ...], clusters: int) -> tuple[str, ...]:
    """Options of two stages."""
    return (*plain, "--stages.count", "2", "--stages.clusters", str(clusters))


def factors(dataset: Dataset, codes: Callable[[], np.ndarray]) -> dict[str, Tensor]:
    """What is probed: ``(N,)`` labels each, -1 for unknown. In a smoke run, on other data, twice the classes."""
    found = dataset.labels
    assert found is not None
    return {CLASS: torch.as_tensor(found), CODE: torch.as_tensor(found if claims.SMOKE else codes())}


def features(run: Run, dataset: Dataset, split: str) -> Tensor:
    """Embeddings of the images of a split."""
    found = run.features(dataset, dataset.splits()[split].tolist()).features
    return found[:, : getattr(run.encoder, "dims", {}).get("image") or found.shape[1]]


def probe(runs: list[Run], dataset: Dataset, split: str, of: dict[str, Tensor]) -> dict[str, float]:
    """Accuracy on ``split`` of a linear probe of each factor, from the encoders side by side."""
    parts = dataset.splits()
    x = {part: torch.cat([features(run, dataset, part) for run in runs], 1) for part in {"train", "val", split}}
    result = {}
    for name, labels in of.items():
        y = {part: labels[parts[part]] for part in x}
        val = None if split == "val" else (x["val"], y["val"])
        known = y[split] >= 0
        found = linear_probe(x["train"], y["train"], x[split][known], val=val).predictions
        result[name] = float((found == y[split][known]).float().mean())
    return result


def agreement(run: Run, dataset: Dataset, of: dict[str, Tensor]) -> float:
    """NMI of the clusters of a run's embeddings with the codes: the premise."""
    found = kmeans(features(run, dataset, "train"), len(coded.TINTS))
    return float(normalized_mutual_info_score(of[CODE][dataset.splits()["train"]], found))


def arms(kind: str, data: str, clusters: int, seed: int, double: bool) -> dict[str, list[Path]]:
    """Run directories whose encoders stand side by side in each arm; all of them are trained."""
    plain = words(kind, data, EPOCHS[kind])
    both, other = Trial(staged(plain, clusters), seed), Trial(plain, seed + OTHER)
    trials = {"two stages": both, "another run": other}
    if double:
        trials["twice as long"] = Trial(words(kind, data, 2 * EPOCHS[kind]), seed)
    found = dict(zip(trials, claims.train_all(trials.values())))
    first, second = (found["two stages"] / "stages" / number for number in "01")
    made = {"stage 0": [first], "stage 1": [second], "two stages": [first, second]}
    made["two runs"] = [first, found["another run"]]
    return made | ({"twice as long": [found["twice as long"]]} if double else {})


def scores(kind: str, data: str, clusters: int, seed: int, codes: Callable[[], np.ndarray], double: bool) -> Any:
    """Probes on test of every arm, and the premise."""
    made = arms(kind, data, clusters, seed, double)
    dataset = Run(made["stage 0"][0]).open()
    of = factors(dataset, codes)
    found: Score = {name: probe([Run(p) for p in paths], dataset, "test", of) for name, paths in made.items()}
    return {"scores": found, "premise": agreement(Run(made["stage 0"][0]), dataset, of)}


def chosen(kind: str, data: str, codes: Callable[[], np.ndarray]) -> tuple[int, dict[int, float]]:
    """The number of clusters whose two stages tell most of the class on val."""
    plain = words(kind, data, EPOCHS[kind])
    trials = [Trial(staged(plain, clusters), TUNING) for clusters in CLUSTERS]
    values = {}
    for clusters, path in zip(CLUSTERS, claims.train_all(trials)):
        run = Run(path)
        dataset = run.open()
        values[clusters] = probe([run], dataset, "val", factors(dataset, codes))[CLASS]
    return max(values, key=lambda clusters: values[clusters]), values


def measured(kind: str, data: str, codes: Callable[[], np.ndarray], clusters: int, double: bool) -> dict[str, Any]:
    """Every arm over the seeds, and the gains of two stages over the controls."""
    each = [scores(kind, data, clusters, seed, codes, double) for seed in SEEDS]
    result: dict[str, Any] = {
        "seeds": list(SEEDS),
        "command": "counterpoint pretrain " + " ".join(staged(words(kind, data, EPOCHS[kind]), clusters)),
        "agreement of the first stage's clusters with the codes": [one["premise"] for one in each],
    }
    names = each[0]["scores"]
    result["test"] = {
        name: {factor: [one["scores"][name][factor] for one in each] for factor in (CLASS, CODE)} for name in names
    }
    result["gain"] = {
        control: {
            factor: dataclasses.asdict(
                claims.gain(result["test"]["two stages"][factor], result["test"][control][factor])
            )
            for factor in (CLASS, CODE)
        }
        for control in names
        if control not in ("stage 1", "two stages")
    }
    return result


def expect_gain(result: dict[str, Any]) -> None:
    """The class gains 5 points and two standard errors over both controls; the code loses 2 points at most."""
    premise = result["agreement of the first stage's clusters with the codes"]
    claims.expect(lambda: min(premise) > 0.8, f"the code suppresses nothing: {premise}")
    for control in ("two runs", "twice as long"):
        gained, kept = (result["gain"][control][factor]["difference"] for factor in (CLASS, CODE))
        error = gained["std"] / len(SEEDS) ** 0.5
        told = f"two stages against {control}: {gained}, {kept}"
        claims.expect(lambda gain=gained, error=error: gain["mean"] >= max(0.05, 2 * error), told)
        claims.expect(lambda gain=kept: gain["mean"] >= -0.02, told)


def test_a_second_stage_finds_what_the_code_suppressed() -> None:
    places = {"coded": Path("x"), "plain": Path("x")} if claims.SMOKE else coded.archives(claims.place("coded"))

    def codes() -> np.ndarray:
        with np.load(places["coded"], allow_pickle=False) as file:
            found: np.ndarray = file["codes"]
            return found

    data = {name: str(path) for name, path in places.items()}
    clusters, tried = chosen("vision", data["coded"], codes)
    result = {"claim": "two stages find the class beside the code", "clusters, chosen on val": tried}
    result["coded"] = measured("vision", data["coded"], codes, clusters, double=True)
    claims.write("mcl-vision", result)
    result["plain"] = measured("vision", data["plain"], codes, clusters, double=False)
    claims.write("mcl-vision", result)
    expect_gain(result["coded"])
    gains = [result[name]["gain"]["two runs"][CLASS]["difference"]["mean"] for name in ("coded", "plain")]
    claims.expect(lambda: gains[0] > gains[1], f"gain with and without the code: {gains}")


def test_a_second_stage_of_clip_finds_what_the_code_suppressed() -> None:
    data = "x" if claims.SMOKE else str(coded.captions(claims.place("coded-captions")))

    def codes() -> np.ndarray:
        with Path(data).open(encoding="utf-8", newline="") as file:
            return np.array([coded.TINTS.index(row["tint"]) for row in csv.DictReader(file)])

    clusters, tried = chosen("multimodal", data, codes)
    result = {"claim": "two stages of CLIP find the class beside the code", "clusters, chosen on val": tried}
    result["coded"] = measured("multimodal", data, codes, clusters, double=True)
    claims.write("mcl-clip", result)
    expect_gain(result["coded"])
