"""Claim: in batches smaller than the number of prototypes a queue holds up SwAV (Caron et al. 2020).

Codes share a batch out evenly among 64 prototypes, which 32 samples cannot do; a queue of 1024 embeddings per view
joins them. Batches of 32 and 256, the same encoder, views and epochs; SimCLR beside them. The learning rate of each arm
is chosen on val, from the same two per batch size, at a seed that is not measured. The claim: at 32 SwAV with its queue
is above SwAV without, and keeps a larger share of what it reaches at 256 than SimCLR does.
"""

from __future__ import annotations

import dataclasses
from statistics import fmean
from typing import Any

import pytest

import claims

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
LARGE = 256
BATCHES = (32,) if claims.SMOKE else (32, LARGE)
RATES = {32: ("0.001",) if claims.SMOKE else ("0.0005", "0.0015"), LARGE: ("0.003", "0.006")}
FRAME = (
    "--data cifar10-small --epochs 15 --encoder SlimResNet --encoder.width 16 "
    "--views SimCLRViews --views.size 24 --views.scale [0.5,1.0] --views.strength 0.25 --views.gray_p 0.1"
)
SWAV = "--method.objective SwappedPrediction --method.objective.epsilon 0.03"
ARMS = {
    "SwAV, queue": ("vision/swav", f"{SWAV} --method.queue_size 1024 --method.queue_after 0.33"),
    "SwAV": ("vision/swav", SWAV),
    "SimCLR": ("vision/simclr", "--method.objective NTXent --method.objective.temperature 0.2"),
}


def arm(name: str, batch: int) -> dict[str, Any]:
    """Test accuracies of one arm at one batch size, and how it was tuned."""
    recipe, own = ARMS[name]
    words = (recipe, *FRAME.split(), *own.split(), "--batch_size", str(batch))
    best, tried = claims.choose([(*words, "--optimization.lr", rate) for rate in RATES[batch]], seed=TUNING)
    found = claims.finals(best, SEEDS, quick=True)
    return {
        "command": "counterpoint pretrain " + " ".join(best),
        "chosen on val": tried,
        "test": claims.values(found),
        "untrained": claims.values(found, "untrained"),
        "seconds": [one["seconds"] for one in found],
        "steps": found[0]["steps"],
    }


def test_a_queue_holds_up_small_batches() -> None:
    result: dict[str, Any] = {"claim": "a queue holds up SwAV in small batches", "metric": claims.KNN}
    result |= {"seeds": list(SEEDS), "tuning seed": TUNING}
    for batch in BATCHES:
        names = [name for name in ARMS if batch < LARGE or name != "SwAV, queue"]
        result[f"batch {batch}"] = {name: arm(name, batch) for name in names}
        claims.write("swav-queue", result)
    if claims.SMOKE:
        return
    small, large = ({name: one["test"] for name, one in result[f"batch {batch}"].items()} for batch in BATCHES)
    gains = {f"queue - {other}": claims.gain(small["SwAV, queue"], small[other]) for other in ("SwAV", "SimCLR")}
    kept = {name: fmean(small[name]) / fmean(large[name.partition(",")[0]]) for name in small}
    told = {name: dataclasses.asdict(gain) for name, gain in gains.items()}
    claims.write("swav-queue", {**result, "gains": told, "kept of batch 256": kept})
    claims.expect(lambda: gains["queue - SwAV"].difference.mean > 0, f"{told}")
    claims.expect(lambda: kept["SwAV, queue"] > kept["SimCLR"], f"share of the accuracy at 256: {kept}")
