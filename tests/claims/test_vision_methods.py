"""Claim: on real 32-pixel images each core method's encoder is at least 12 points of kNN above the untrained one.

The learning rate is chosen on val, the same grid for all; the test part is measured once per seed.
"""

from __future__ import annotations

import pytest

import claims

pytestmark = pytest.mark.claim

SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
RATES = ("0.003",) if claims.SMOKE else ("0.001", "0.003")
POINTS = 0.12


@pytest.mark.parametrize("method", ["simclr", "moco", "swav", "byol"])
def test_method_beats_the_untrained_encoder(method: str) -> None:
    base = (f"vision/{method}", "--config", f"configs/vision/{method}-cpu.yaml", "--data", "cifar10-small")
    best, tried = claims.choose([(*base, "--optimization.lr", rate) for rate in RATES], seed=100)
    found = claims.finals(best, SEEDS)
    learnt, untrained = claims.values(found), claims.values(found, "untrained")
    difference = claims.gain(learnt, untrained) if len(SEEDS) > 1 else None
    rows = {
        row: {metric: [one["rows"][row].get(metric) for one in found] for metric in found[0]["rows"][row]}
        for row in found[0]["rows"]
    }
    claims.write(
        f"vision-{method}",
        {
            "claim": f"{method}: at least 12 points of kNN above the untrained encoder",
            "command": "counterpoint pretrain " + " ".join(best),
            "chosen on val": tried,
            "seeds": list(SEEDS),
            "rows": rows,
            "seconds": [one["seconds"] for one in found],
            "steps": found[0]["steps"],
            "versions": found[0]["versions"],
            "gain": None if difference is None else vars_of(difference),
        },
    )
    claims.expect(lambda: min(a - b for a, b in zip(learnt, untrained)) >= POINTS, f"{learnt} vs {untrained}")


def vars_of(difference: object) -> dict[str, float]:
    """The fields of a small record."""
    return {name: getattr(difference, name) for name in getattr(difference, "__dataclass_fields__", {})}
