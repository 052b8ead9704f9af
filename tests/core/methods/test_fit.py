"""Objectives x methods: each cell learns a tiny batch by heart, or is refused with the reason that the docs show."""

from __future__ import annotations

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from counterpoint.errors import ConfigError
from counterpoint.methods import FINE_TUNING, METHODS, Method
from counterpoint.methods.fit import kinds, refusal
from counterpoint.nn import DINOHead, Predictor, Projector
from counterpoint.types import Batch, View
from learners import Net, batch_of, digits, half_views, halves, two_views
from zoo import MAKE, WIDTH, learns

pytestmark = pytest.mark.unit

SMALL = partial(Projector, hidden_dim=32, out_dim=WIDTH)
PREDICTOR = partial(Predictor, hidden_dim=WIDTH)
HEADS: dict[str, dict[str, Any]] = {
    "moco": {"queue_size": 40},
    "mocov3": {"predictor": PREDICTOR},
    "swav": {"prototypes": 8, "freeze_share": 0.0},
    "byol": {"predictor": PREDICTOR},
    "simsiam": {"predictor": PREDICTOR},
    "dino": {"projector": partial(DINOHead, prototypes=WIDTH, hidden_dim=32, bottleneck_dim=16), "freeze_share": 0.0},
    "pair": {"projector": partial(Projector, layers=1, out_dim=WIDTH)},
    "classify": {"head_warmup": 0.0},
    "regress": {"head_warmup": 0.0},
}
EVERY = {**METHODS, **FINE_TUNING}
IN_BATCH = {"simclr", "mocov3", "barlowtwins", "vicreg", "pair"}
QUEUED = IN_BATCH | {"moco"}
FITS: dict[str, set[str]] = {
    "BPR": set(),  # it compares scores of items: the graph plugin's methods have it built in
    "BarlowTwins": IN_BATCH,
    "CACR": QUEUED,
    "CoreTuning": {"classify"},  # it calls the head itself
    "DCL": QUEUED,
    "FeatureTransform": QUEUED,
    "Hydra": IN_BATCH | {"classify"},
    "InfoNCE": QUEUED,
    "MoCHi": QUEUED,
    "NTXent": QUEUED,
    "NegativeCosine": {"byol", "simsiam"},
    "SelfDistillation": {"dino"},
    "SepCLR": {"sepclr"},
    "Sigmoid": QUEUED,
    "SupCon": IN_BATCH | {"classify"},
    "SupReMix": IN_BATCH | {"regress"},
    "SwappedPrediction": {"swav"},
    "VICReg": IN_BATCH,
}
ALLOWED = [(objective, method) for objective, found in FITS.items() for method in EVERY if method in found]
REFUSED = [(objective, method) for objective, found in FITS.items() for method in EVERY if method not in found]


def build(method: str, objective: str) -> Method:
    torch.manual_seed(0)
    encoder = halves(WIDTH) if method == "pair" else Net(dim=WIDTH)
    made: Method = EVERY[method].load()(encoder, MAKE[objective](), **{"projector": SMALL, **HEADS.get(method, {})})
    images, labels = digits()
    data: Any = SimpleNamespace(labels=labels.numpy(), classes=list("0123456789"), targets=labels.float())
    made.prepare(data, np.arange(len(images)))
    return made


def material(method: str) -> tuple[list[View], Batch]:
    batch = batch_of(torch.arange(16))
    assert batch.label is not None
    batch.target = batch.label.float()
    if method == "sepclr":
        batch.label = batch.index % 2
    return (half_views if method == "pair" else two_views)(batch, torch.Generator().manual_seed(0)), batch


def test_what_fits_is_known_before_anything_is_built() -> None:
    found = {kind: {name for name, part in EVERY.items() if refusal(part.load(), kind) is None} for kind in kinds()}
    assert {kind.__name__: methods for kind, methods in found.items()} == FITS


@pytest.mark.parametrize(("objective", "method"), ALLOWED)
def test_an_allowed_cell_learns_a_tiny_batch_by_heart(objective: str, method: str) -> None:
    learns(build(method, objective), *material(method))


@pytest.mark.parametrize(("objective", "method"), REFUSED)
def test_a_cell_without_sense_is_refused_by_name(objective: str, method: str) -> None:
    cls = EVERY[method].load()
    why = refusal(cls, type(MAKE[objective]()))
    assert why is not None and why.startswith("it is not called with ")
    wanted = f"{cls.__name__}: objective: found {objective}; allowed: one that is called with "
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        build(method, objective)


def test_hydra_without_labels_says_what_it_needs() -> None:
    views, batch = material("simclr")
    batch.label = None
    with pytest.raises(ConfigError, match=r"labels: found None; .* take a dataset with labels"):
        build("simclr", "Hydra")(views, batch)


@pytest.mark.parametrize("method", ["mocov3", "pair", "vicreg"])
def test_labels_reach_the_objectives_that_take_them(method: str) -> None:
    losses = []
    for known in (True, False):
        views, batch = material(method)
        if not known:
            batch.label = None
        losses.append(build(method, "SupCon")(views, batch).loss.detach())
    assert (losses[0] - losses[1]).abs() > 1e-3
