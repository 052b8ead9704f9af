"""Are common and salient apart? The probes of both spaces, for a run with two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from counterpoint.evaluation.two_space import Found, delta_total, two_space_probe
from counterpoint.nn.two_spaces import TwoSpaces
from counterpoint.parts import Dataset, Encoder
from counterpoint.training.contrasted import Contrasted
from counterpoint.training.embedding import Embedded

DELTA = "delta_tot"


def separation(
    encoder: Encoder, dataset: Dataset, embedded: Mapping[str, Embedded], split: str, seed: int
) -> dict[str, Found]:
    """What `two_space_probe` finds; nothing where there are no two spaces, or no background and targets.

    Args:
        encoder: whose spaces these are.
        dataset: that was embedded.
        embedded: split -> features of its samples.
        split: that is measured.
        seed: of the probes.
    """
    if not isinstance(encoder, TwoSpaces) or not isinstance(dataset, Contrasted):
        return {}
    parts = {name: encoder.split(found.features) for name, found in embedded.items() if len(found.index)}
    codes = {space: {name: spaces[space] for name, spaces in parts.items()} for space in ("common", "salient")}
    factors = dataset.factors()
    labels = {
        factor: {name: torch.from_numpy(about.labels)[embedded[name].index] for name in parts}
        for factor, about in factors.items()
    }
    asked = {  # a probe learns from two known classes or more, and is measured on as many
        factor: given
        for factor, given in labels.items()
        if all(len(torch.unique(given[part][given[part] >= 0])) > 1 for part in ("train", split))
    }
    return two_space_probe(codes, asked, {f: factors[f].space for f in asked}, split=split, seed=seed)


def metrics(found: Mapping[str, Found]) -> dict[str, float]:
    """The probes as metrics: ``probe[digit,salient]`` and so on, and their distance from the ideal."""
    named = {f"probe[{factor},{s}]": value for factor, one in found.items() for s, value in one.accuracy.items()}
    return {**named, DELTA: delta_total(found)} if found else {}


def facts(found: Mapping[str, Found]) -> dict[str, Any]:
    """What must be known to read these metrics: factor -> where it belongs, and its chance level."""
    return {factor: {"home": one.home, "chance": one.chance} for factor, one in found.items()}
