"""Claim: at batch 32-64 the decoupled objective (DCL) beats InfoNCE (Yeh et al. 2022).

SimCLR's frame for both, the same epochs, the same grid of learning rates, chosen on val for each arm and batch size.
"""

from __future__ import annotations

import dataclasses

import pytest

import claims

pytestmark = pytest.mark.claim

SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
RATES = ("0.001",) if claims.SMOKE else ("0.001", "0.003")
BATCHES = (32,) if claims.SMOKE else (32, 64)
BASE = ("vision/simclr", "--config", "configs/vision/dcl-cpu.yaml", "--data", "cifar10-small")
ARMS = {"InfoNCE": "NTXent", "DCL": "DCL"}


def arm(objective: str, batch: int) -> tuple[list[float], dict[str, object]]:
    """Test accuracies of one objective at one batch size, and how it was tuned."""
    words = (
        *BASE,
        "--method.objective",
        objective,
        "--method.objective.temperature",
        "0.1",
        "--batch_size",
        str(batch),
    )
    best, tried = claims.choose([(*words, "--optimization.lr", rate) for rate in RATES], seed=100)
    found = claims.finals(best, SEEDS, quick=True)
    facts = {
        "command": "counterpoint pretrain " + " ".join(best),
        "chosen on val": tried,
        "test": claims.values(found),
        "untrained": claims.values(found, "untrained"),
        "seconds": [one["seconds"] for one in found],
        "steps": found[0]["steps"],
    }
    return claims.values(found), facts


def test_decoupling_helps_in_small_batches() -> None:
    result: dict[str, object] = {
        "claim": "DCL above InfoNCE at batch 32-64",
        "metric": claims.KNN,
        "seeds": list(SEEDS),
    }
    gaps: dict[int, float] = {}
    errors: dict[int, float] = {}
    for batch in BATCHES:
        arms = {name: arm(objective, batch) for name, objective in ARMS.items()}
        ours, theirs = arms["DCL"][0], arms["InfoNCE"][0]
        difference = claims.gain(ours, theirs).difference
        gaps[batch], errors[batch] = difference.mean, difference.std / len(ours) ** 0.5
        entry: dict[str, object] = {name: facts for name, (_, facts) in arms.items()}
        entry["gain"] = dataclasses.asdict(claims.gain(ours, theirs))
        result[f"batch {batch}"] = entry
    claims.write("vision-dcl", result)
    # The method's card: above two standard errors of the paired seeds at the smallest batch.
    told = f"mean gap by batch size: {gaps}, standard errors: {errors}"
    claims.expect(lambda: gaps[32] > 2 * errors[32] and gaps[64] > 0, told)
