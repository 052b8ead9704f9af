"""Claim: on real 32-pixel images each core method is at least 12 points of kNN above the untrained encoder, every seed.

The shipped ``-cpu`` configurations as they are; the test part is measured once per seed.
"""

from __future__ import annotations

import dataclasses

import pytest

import claims

pytestmark = pytest.mark.claim

SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
POINTS = 0.12


@pytest.mark.parametrize("method", ["simclr", "moco", "swav", "byol"])
def test_method_beats_the_untrained_encoder(method: str) -> None:
    words = (f"vision/{method}", "--config", f"configs/vision/{method}-cpu.yaml", "--data", "cifar10-small")
    found = claims.finals(words, SEEDS, quick=True)
    learnt, untrained = claims.values(found), claims.values(found, "untrained")
    names = {row: list(found[0]["rows"][row]) for row in found[0]["rows"]}
    claims.write(
        f"vision-{method}",
        {
            "claim": f"{method}: at least 12 points of kNN above the untrained encoder",
            "command": "counterpoint pretrain " + " ".join(words),
            "seeds": list(SEEDS),
            "rows": {row: {m: [one["rows"][row][m] for one in found] for m in names[row]} for row in names},
            "gain": dataclasses.asdict(claims.gain(learnt, untrained)),
            "seconds": [one["seconds"] for one in found],
            "steps": found[0]["steps"],
            "versions": found[0]["versions"],
        },
    )
    claims.expect(lambda: min(a - b for a, b in zip(learnt, untrained)) >= POINTS, f"{learnt} vs {untrained}")
