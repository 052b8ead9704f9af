"""Claim (Hydra): pairs of different classes teach, where a gate opens a subspace for them; without it they do not.

Every arm has the same frame, epochs and two learning rates, of which val chooses at a seed that is not measured. In the
"distinct" arms a sample of the own class is never a positive. Then the same on seven of the ten classes, measured on
the three that no training saw.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import claims
from counterpoint_vision.data import ImageArrays

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
WHOLE = "cifar10-small"
BASE = ("vision/simclr", "--config", "configs/vision/hydra-cpu.yaml")
RATES = ("0.001", "0.003")
CLASSES, SEEN = (16, 16) if claims.SMOKE else (10, 7)  # the smoke run's pictures have 16
RANK = "rankme"
ARMS = {
    "distinct": "--method.objective.partners distinct",
    "distinct, open gates": "--method.objective.partners distinct --method.objective.gate open",
    "arbitrary": "--method.objective.partners arbitrary",
    "identical": "--method.objective.partners identical",
    "SupCon": "--method.objective SupCon",
    "SimCLR": "--method.objective NTXent --method.objective.temperature 0.2",
}
TRANSFER = ("arbitrary", "SupCon", "SimCLR")


def apart() -> tuple[str, str]:
    """Archives of the seven classes that are trained on and of the three that are not; made once."""
    if claims.SMOKE:
        return WHOLE, WHOLE
    folder = claims.place("classes")
    places = folder / "seen.npz", folder / "unseen.npz"
    if not all(place.is_file() for place in places):
        data = ImageArrays(WHOLE)
        labels, splits = np.asarray(data.labels), data.splits()
        for place, first, last in ((places[0], 0, SEEN), (places[1], SEEN, CLASSES)):
            inside = (labels >= first) & (labels < last)
            claims.write_images(
                place, data, {part: rows[inside[rows]] for part, rows in splits.items()}, labels - first
            )
    return str(places[0]), str(places[1])


def words(data: str, name: str, classes: int, rate: str) -> tuple[str, ...]:
    """Options of one training."""
    own = ARMS[name].split()
    number = () if "--method.objective" in own else ("--method.objective.classes", str(classes))
    return (*BASE, "--data", data, *own, *number, "--optimization.lr", rate)


def arm(name: str, data: str, classes: int, rate: str, measured: str | None = None) -> dict[str, Any]:
    """What one arm reaches on test."""
    asked = words(data, name, classes, rate)
    found = claims.finals(asked, SEEDS, quick=True, data=measured)
    return {
        "command": "counterpoint pretrain " + " ".join(asked),
        "test": {metric: claims.values(found, metric=metric) for metric in (claims.KNN, RANK)},
        "untrained": claims.values(found, "untrained"),
        "seconds": [one["seconds"] for one in found],
        "steps": found[0]["steps"],
    }


def test_a_subspace_for_each_pair_of_classes() -> None:
    names = ["arbitrary"] if claims.SMOKE else list(ARMS)
    result: dict[str, Any] = {"claim": "gated above open pairs of classes", "seeds": list(SEEDS), "tuning seed": TUNING}
    rates, arms, transfer = {}, {}, {}
    result |= {"chosen on val": {}, "arms": arms, "unseen classes": transfer}
    for name in names:
        grid = {words(WHOLE, name, CLASSES, rate): rate for rate in (RATES[:1] if claims.SMOKE else RATES)}
        best, tried = claims.choose(list(grid), TUNING)
        rates[name] = grid[best]
        result["chosen on val"][name] = dict(zip(grid.values(), tried.values()))
        arms[name] = arm(name, WHOLE, CLASSES, rates[name])
        claims.write("objectives-hydra", result)
    seen, unseen = apart()
    for name in [name for name in TRANSFER if name in names]:
        transfer[name] = arm(name, seen, SEEN, rates[name], unseen)
        claims.write("objectives-hydra", result)
    if claims.SMOKE:
        return
    knn = {name: one["test"][claims.KNN] for name, one in arms.items()}
    knn["untrained"] = arms["distinct"]["untrained"]
    rank = {name: one["test"][RANK] for name, one in arms.items()}
    gains = {f"distinct - {other}": claims.gain(knn["distinct"], knn[other]) for other in knn if other != "distinct"}
    gains |= {f"arbitrary - {other}": claims.gain(knn["arbitrary"], knn[other]) for other in ("SimCLR", "SupCon")}
    gains["rank, arbitrary - SupCon"] = claims.gain(rank["arbitrary"], rank["SupCon"])
    away = {name: one["test"][claims.KNN] for name, one in transfer.items()}
    gains |= {
        f"unseen classes, arbitrary - {o}": claims.gain(away["arbitrary"], away[o]) for o in away if o != "arbitrary"
    }
    told = {name: dataclasses.asdict(gain) for name, gain in gains.items()}
    claims.write("objectives-hydra", {**result, "gains": told})

    def above(name: str) -> bool:
        return gains[name].difference.mean > 2 * gains[name].difference.std / len(SEEDS) ** 0.5

    for other in ("distinct, open gates", "untrained"):
        claims.expect(lambda o=other: above(f"distinct - {o}"), f"distinct - {other}: {told}")
    claims.expect(lambda: gains["arbitrary - SimCLR"].difference.mean >= 0, f"arbitrary and SimCLR: {told}")
    claims.expect(lambda: gains["rank, arbitrary - SupCon"].difference.mean > 0, f"effective rank: {told}")
