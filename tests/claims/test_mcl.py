"""Claim (MCL): a second stage finds what an easy feature suppressed, and nothing that was learnt is lost.

Grey photos of fashion products on a random one of eight colours, which augmentation leaves alone: the first stage tells
samples apart by the colour. The encoders of two stages side by side are compared, by a linear probe of the article and
one of the colour, with two independent runs side by side (equal size and cost) and with one run twice as long. Where no
colour suppresses anything, the gain should shrink towards that of an ensemble. The same for CLIP, whose captions name
article and colour. The clusters are chosen on val at a seed that is not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

import articles
import claims
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
EPOCHS = {"vision": 15, "multimodal": 15}
VISION = ("--batch_size", "128", "--views.scale", "[0.3,1.0]", "--views.jitter_p", "0", "--views.gray_p", "0")
WORDS = {
    "vision": ("vision/simclr", *VISION, "--encoder.width", "32", "--optimization.lr", "0.002"),
    "multimodal": ("multimodal/clip", "--batch_size", "128", "--encoder.image_options.width", "32"),
}
ARTICLE, COLOUR = "article", "colour"
Score = dict[str, dict[str, float]]
"""Representation -> factor -> accuracy of a linear probe."""


def words(kind: str, data: str, epochs: int) -> tuple[str, ...]:
    """Options of a plain run."""
    return (*WORDS[kind], "--data", data, "--epochs", str(epochs))


def staged(plain: tuple[str, ...], clusters: int) -> tuple[str, ...]:
    """Options of two stages."""
    return (*plain, "--stages.count", "2", "--stages.clusters", str(clusters))


def factors(dataset: Dataset, colours: Callable[[], np.ndarray]) -> dict[str, Tensor]:
    """What is probed: ``(N,)`` labels each, -1 for unknown. In a smoke run, on other data, twice the classes."""
    found = dataset.labels
    assert found is not None
    return {ARTICLE: torch.as_tensor(found), COLOUR: torch.as_tensor(found if claims.SMOKE else colours())}


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
    """NMI of the clusters of a run's embeddings with the colours: the premise."""
    found = kmeans(features(run, dataset, "train"), len(articles.COLOURS))
    return float(normalized_mutual_info_score(of[COLOUR][dataset.splits()["train"]], found))


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


def scores(kind: str, data: str, clusters: int, seed: int, colours: Callable[[], np.ndarray], double: bool) -> Any:
    """Probes on test of every arm, and the premise."""
    made = arms(kind, data, clusters, seed, double)
    dataset = Run(made["stage 0"][0]).open()
    of = factors(dataset, colours)
    found: Score = {name: probe([Run(p) for p in paths], dataset, "test", of) for name, paths in made.items()}
    return {"scores": found, "premise": agreement(Run(made["stage 0"][0]), dataset, of)}


def chosen(kind: str, data: str, colours: Callable[[], np.ndarray]) -> tuple[int, dict[int, float]]:
    """The number of clusters whose two stages tell most of the article on val."""
    plain = words(kind, data, EPOCHS[kind])
    trials = [Trial(staged(plain, clusters), TUNING) for clusters in CLUSTERS]
    values = {}
    for clusters, path in zip(CLUSTERS, claims.train_all(trials)):
        run = Run(path)
        dataset = run.open()
        values[clusters] = probe([run], dataset, "val", factors(dataset, colours))[ARTICLE]
    return max(values, key=lambda clusters: values[clusters]), values


def measured(kind: str, data: str, colours: Callable[[], np.ndarray], clusters: int, double: bool) -> dict[str, Any]:
    """Every arm over the seeds, and the gains of two stages over the controls."""
    each = [scores(kind, data, clusters, seed, colours, double) for seed in SEEDS]
    result: dict[str, Any] = {
        "seeds": list(SEEDS),
        "command": "counterpoint pretrain " + " ".join(staged(words(kind, data, EPOCHS[kind]), clusters)),
        "agreement of the first stage's clusters with the colours": [one["premise"] for one in each],
    }
    names = each[0]["scores"]
    result["test"] = {
        name: {factor: [one["scores"][name][factor] for one in each] for factor in (ARTICLE, COLOUR)} for name in names
    }
    result["gain"] = {
        control: {
            factor: dataclasses.asdict(
                claims.gain(result["test"]["two stages"][factor], result["test"][control][factor])
            )
            for factor in (ARTICLE, COLOUR)
        }
        for control in names
        if control not in ("stage 1", "two stages")
    }
    return result


def expect_gain(result: dict[str, Any]) -> None:
    """The article gains 5 points and two standard errors over both controls; the colour loses 2 points at most."""
    premise = result["agreement of the first stage's clusters with the colours"]
    claims.expect(lambda: min(premise) > 0.8, f"the colour suppresses nothing: {premise}")
    for control in ("two runs", "twice as long"):
        article, colour = (result["gain"][control][factor]["difference"] for factor in (ARTICLE, COLOUR))
        error = article["std"] / len(SEEDS) ** 0.5
        told = f"two stages against {control}: {article}, {colour}"
        claims.expect(lambda gain=article, error=error: gain["mean"] >= max(0.05, 2 * error), told)
        claims.expect(lambda gain=colour: gain["mean"] >= -0.02, told)


def test_a_second_stage_finds_what_the_colour_suppressed() -> None:
    places = {"painted": Path("x"), "plain": Path("x")} if claims.SMOKE else articles.archives(claims.place("articles"))

    def colours() -> np.ndarray:
        with np.load(places["painted"], allow_pickle=False) as file:
            codes: np.ndarray = file["codes"]
            return codes

    data = {name: str(path) for name, path in places.items()}
    clusters, tried = chosen("vision", data["painted"], colours)
    result = {"claim": "two stages find the article beside the colour", "clusters, chosen on val": tried}
    result["painted"] = measured("vision", data["painted"], colours, clusters, double=True)
    claims.write("mcl-vision", result)
    result["plain"] = measured("vision", data["plain"], colours, clusters, double=False)
    claims.write("mcl-vision", result)
    expect_gain(result["painted"])
    gains = [result[name]["gain"]["two runs"][ARTICLE]["difference"]["mean"] for name in ("painted", "plain")]
    claims.expect(lambda: gains[0] > gains[1], f"gain with and without the colour: {gains}")


def test_a_second_stage_of_clip_finds_what_the_colour_suppressed() -> None:
    data = "x" if claims.SMOKE else str(articles.captions(claims.place("articles-captioned")))

    def colours() -> np.ndarray:
        with Path(data).open(encoding="utf-8", newline="") as file:
            rows = {row["image"]: [*articles.COLOURS].index(row["colour"]) for row in articles.csv.DictReader(file)}
        return np.array([rows[name] for name in sorted(rows)])

    clusters, tried = chosen("multimodal", data, colours)
    result = {"claim": "two stages of CLIP find the article beside the colour", "clusters, chosen on val": tried}
    result["painted"] = measured("multimodal", data, colours, clusters, double=True)
    claims.write("mcl-clip", result)
    expect_gain(result["painted"])
