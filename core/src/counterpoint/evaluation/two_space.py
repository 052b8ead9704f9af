"""What is found in which of two spaces: a probe of every factor from each, and how far all of it is from the ideal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation.linear import linear_probe
from counterpoint.evaluation.stats import balanced_accuracy

Splits = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Found:
    """One factor.

    Attributes:
        home: the space in which it belongs.
        chance: balanced accuracy of a guess, 1 / classes.
        accuracy: space -> balanced accuracy of a linear probe there.
    """

    home: str
    chance: float
    accuracy: Mapping[str, float]

    @property
    def gap(self) -> float:
        """Accuracy at home less the best elsewhere: what a separation shows."""
        return self.accuracy[self.home] - max(v for space, v in self.accuracy.items() if space != self.home)

    @property
    def delta(self) -> float:
        """Distance from the ideal: from 1 at home, from chance elsewhere; 0 is perfect."""
        return sum(abs(value - (1.0 if space == self.home else self.chance)) for space, value in self.accuracy.items())


def two_space_probe(
    codes: Mapping[str, Splits],
    labels: Mapping[str, Splits],
    homes: Mapping[str, str],
    *,
    split: str = "test",
    seed: int = 0,
) -> dict[str, Found]:
    """Linear probes of every factor from every space, by balanced accuracy on ``split``.

    The probes' rows are the train split's; C is chosen on val for ``split="test"``, on held-out train rows for
    ``split="val"``. `delta_total` sums up.

    Args:
        codes: space -> split -> ``(N, D)``.
        labels: factor -> split -> ``(N,)`` class indices of the same rows; -1: not known, or of no matter.
        homes: factor -> the space in which it belongs.
        split: "val" or "test".
        seed: of the held-out rows.

    Returns:
        factor -> what was found, in the order of ``labels``.

    Raises:
        ConfigError: fewer than two spaces, a home that is none of them, or an unknown split.
        ShapeError: a factor with fewer than two known classes, or arrays that do not fit.

    Source: the protocol of Louiset et al. 2024 (SepCLR).
    """
    if split not in ("val", "test"):
        raise ConfigError(message("split", repr(split), '"val" or "test"', "Metrics on train rows are not results."))
    if len(codes) < 2:
        raise ConfigError(message("codes", f"{len(codes)} space(s)", "two or more"))
    found = {}
    for factor, given in labels.items():
        if homes.get(factor) not in codes:
            raise ConfigError(message(f"homes[{factor!r}]", repr(homes.get(factor)), f"one of {', '.join(codes)}"))
        known = torch.unique(given[split][given[split] >= 0])
        if len(known) < 2:
            raise ShapeError(message(f"labels[{factor!r}]", f"{len(known)} class(es) on {split}", "two or more"))
        accuracy = {space: _probe(rows, given, split, seed) for space, rows in codes.items()}
        found[factor] = Found(homes[factor], 1 / len(known), accuracy)
    return found


def delta_total(found: Mapping[str, Found]) -> float:
    """Sum over factors and spaces of the distance from the ideal (the paper's delta_tot): 0 is perfect."""
    return sum(one.delta for one in found.values())


def _probe(codes: Splits, labels: Splits, split: str, seed: int) -> float:
    asked = labels[split] >= 0
    val = (codes["val"], labels["val"]) if split == "test" and "val" in codes else None
    probe = linear_probe(codes["train"], labels["train"], codes[split][asked], val=val, seed=seed)
    return balanced_accuracy(probe.predictions, labels[split][asked])
