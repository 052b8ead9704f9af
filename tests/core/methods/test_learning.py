"""Every method learns something real: digits that it never saw are told apart better than by the untrained encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from counterpoint import methods
from counterpoint.methods import Method
from counterpoint.methods.registry import METHODS
from counterpoint.nn import DINOHead, Predictor, Projector
from counterpoint.objectives import DCL, InfoNCE, SepCLR, SupCon
from learners import Net, Training, half_views, halves, knn

pytestmark = pytest.mark.unit

HEAD = partial(Projector, hidden_dim=64, out_dim=32)
DEEP = partial(Projector, hidden_dim=64, out_dim=64, layers=3, last_norm=True)
WIDE = partial(Projector, hidden_dim=64, out_dim=64, layers=3)
PREDICTOR = partial(Predictor, hidden_dim=64)

MAKE: dict[str, Callable[[], Method]] = {
    "simclr": lambda: methods.SimCLR(Net(), projector=HEAD),
    "moco": lambda: methods.MoCo(Net(), projector=HEAD, queue_size=512),
    "mocov3": lambda: methods.MoCoV3(Net(), projector=DEEP, predictor=PREDICTOR),
    "swav": lambda: methods.SwAV(Net(), projector=HEAD, prototypes=32, queue_size=256),
    "byol": lambda: methods.BYOL(Net(), projector=HEAD, predictor=PREDICTOR),
    "simsiam": lambda: methods.SimSiam(Net(), projector=DEEP),
    "barlowtwins": lambda: methods.BarlowTwins(Net(), projector=WIDE),
    "vicreg": lambda: methods.VICReg(Net(), projector=WIDE),
    "dino": lambda: methods.DINO(Net(), projector=partial(DINOHead, hidden_dim=64, bottleneck_dim=32), momentum=0.95),
    # digit 0 is the background
    "sepclr": lambda: methods.SepCLR(Net(), SepCLR(salient_weight=1, null_weight=1, entropy_weight=1), code=None),
}
OTHER_OBJECTIVES: dict[str, Callable[[], Method]] = {
    "simclr with DCL": lambda: methods.SimCLR(Net(), DCL(0.2), HEAD),
    "simclr with SupCon": lambda: methods.SimCLR(Net(), SupCon(0.2), HEAD),
    "moco with decoupled InfoNCE": lambda: methods.MoCo(
        Net(), InfoNCE(0.2, symmetric=False, decoupled=True), HEAD, queue_size=256
    ),
}


@pytest.mark.parametrize("name", [*MAKE, *OTHER_OBJECTIVES])
def test_held_out_digits_are_told_apart_better_than_before(name: str) -> None:
    torch.manual_seed(0)
    method = (MAKE | OTHER_OBJECTIVES)[name]()
    untrained = knn(method.encoder)
    steps, lr = (120, 2e-3) if name == "dino" else (60, 5e-3)
    losses = Training(method, steps, lr=lr).run(0, steps)
    assert knn(method.encoder) > untrained + 0.08
    # DINO's loss starts low, where the uncentred teacher is sharp, and rises to its chance level before it falls.
    begun = max(losses) if name == "dino" else losses[4] if name == "moco" else losses[0]
    assert losses[-1] < begun
    assert method.steps == steps


def test_two_halves_of_a_digit_teach_two_towers() -> None:
    torch.manual_seed(0)
    method = methods.Pair(halves(dim=32, other=24))
    untrained = knn(method.encoder, "left")
    losses = Training(method, 80, views=half_views, lr=5e-3).run(0, 80)
    assert knn(method.encoder, "left") > untrained + 0.05
    assert losses[-1] < losses[0]


def test_every_core_method_is_here() -> None:
    assert set(METHODS) == {*MAKE, "pair"}
