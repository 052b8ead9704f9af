"""Claim: for ordered targets SupReMix beats supervised contrast, and least absolute error end to end (Wu et al. 2023).

Cycles that a turbofan engine has left (C-MAPSS FD001, 125 at most), from windows of sensor readings. Every arm begins
with the same fresh encoder and sees equal steps and views; contrastive ones get the same linear map of least absolute
error on frozen features. Temperature (or the rate, end to end) is chosen on val for each arm at a seed that is not
measured. Besides: distances of embeddings follow those of targets; a gap in the training targets is bridged; few
engines are enough.
"""

from __future__ import annotations

import dataclasses
from statistics import fmean
from typing import Any

import pytest

import claims
from claims import Trial, Tuning

pytestmark = pytest.mark.claim

TUNING = 100
SEEDS = (0,) if claims.SMOKE else (0, 1, 2)
TEMPERATURES = ("0.2",) if claims.SMOKE else ("0.1", "0.3")
RATES = ("0.002",) if claims.SMOKE else ("0.001", "0.004")
BASE = ("--task", "regress", "--epochs", "20", "--batch_size", "128", "--head_warmup", "0", "--method.views", "2")
OWN = "--method.objective."
CONTRAST = (*BASE, "--lr", "0.002", "--objective", "supremix", f"{OWN}unit", "5", f"{OWN}window", "5")
NO_NEGATIVES, NO_POSITIVES = (f"{OWN}mix_negatives", "false"), (f"{OWN}mix_positives", "false")
UNWEIGHTED = (f"{OWN}weights", "none")
ARMS: dict[str, tuple[str, ...]] = {
    "L1 end to end": (*BASE, "--objective", "plain"),
    "SupCon": (*CONTRAST, *NO_NEGATIVES, *NO_POSITIVES, *UNWEIGHTED),
    "with weights": (*CONTRAST, *NO_NEGATIVES, *NO_POSITIVES),
    "with mixed negatives": (*CONTRAST, *NO_POSITIVES),
    "with mixed positives": (*CONTRAST, *NO_NEGATIVES),
    "SupReMix": CONTRAST,
}
FULL = ("--data", "turbofan")
GAP = (*FULL, "--dataset.gap", "true")
FEW = (*FULL, "--dataset.engines", "12")
HARDER = {"a gap of 50 to 75 cycles": GAP, **({} if claims.SMOKE else {"12 of 80 engines": FEW})}
COMPARED = ("L1 end to end", "SupCon", "SupReMix")


def start(seed: int, data: tuple[str, ...] = FULL) -> Trial:
    """A fresh encoder, as a run: one step at a rate of nothing."""
    return Trial(("turbofan/simclr", *data, "--max_steps", "1", "--optimization.lr", "0"), seed)


def tune(name: str) -> tuple[tuple[str, ...], dict[str, float]]:
    """The options of one arm that are best on val, and every value that was compared."""
    words = ARMS[name]
    plain = name == "L1 end to end"
    options = [("--lr", rate) for rate in RATES] if plain else [(f"{OWN}temperature", t) for t in TEMPERATURES]
    if len(options) == 1:
        return (*words, *options[0]), {}
    found = claims.tunings([Tuning(start(TUNING), (*words, *option), TUNING) for option in options], "val")
    values = {tuning.words: rows["learnt"]["mae"] for tuning, rows in found.items()}
    return min(values, key=lambda words: values[words]), {" ".join(words): value for words, value in values.items()}


def finals(words: tuple[str, ...], seeds: tuple[int, ...], data: tuple[str, ...] = FULL) -> dict[str, list[float]]:
    """Metric -> seed by seed, on test."""
    wanted = [Tuning(start(seed, data), words, seed) for seed in seeds]
    claims.tunings(wanted, "test")
    found = claims.in_turn(lambda tuning: claims.ask(tuning, "measure"), wanted)
    return {metric: [one[metric] for one in found] for metric in found[0]}


def test_supremix_orders_and_predicts_better() -> None:
    result: dict[str, Any] = {"claim": "SupReMix below SupCon and L1 in MAE", "metric": "mae", "seeds": list(SEEDS)}
    chosen, whole = {}, {}
    for name in COMPARED if claims.SMOKE else ARMS:
        chosen[name], tried = tune(name)
        whole[name] = finals(chosen[name], SEEDS)
        result[name] = {"command": " ".join(chosen[name]), "chosen on val": tried, "test": whole[name]}
        claims.write("supremix", result)
    for title, data in HARDER.items():
        names = COMPARED[-1:] if claims.SMOKE else COMPARED
        result[title] = {name: finals(chosen[name], SEEDS, data) for name in names}
        claims.write("supremix", result)
    less = {name: claims.gain(whole[name]["mae"], whole["SupReMix"]["mae"]).difference for name in COMPARED[:2]}
    result["less error than"] = {name: dataclasses.asdict(gain) for name, gain in less.items()}
    claims.write("supremix", result)
    errors = {name: gain.std / len(SEEDS) ** 0.5 for name, gain in less.items()}
    told = f"less MAE than: {less}"
    claims.expect(lambda: less["SupCon"].mean > 2 * errors["SupCon"], told)
    claims.expect(lambda: less["L1 end to end"].mean >= -errors["L1 end to end"], told)
    order = {name: fmean(found["order"]) for name, found in whole.items()}
    claims.expect(lambda: order["SupReMix"] > order["SupCon"], f"correlation of distances: {order}")
    gap = {name: fmean(found["mae gap"]) for name, found in result["a gap of 50 to 75 cycles"].items()}
    claims.expect(lambda: gap["SupReMix"] < gap["SupCon"], f"MAE inside the gap: {gap}")
