"""Each method learns to recommend from real interactions: in some epochs it is far beyond the most popular items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoint.methods import SimCLR
from counterpoint.methods.base import Method
from counterpoint.objectives import InfoNCE
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.encoders import LightGCN
from counterpoint_graphrec.methods import BPRMF, SGL, LightGCNMethod, SimGCL, XSimGCL
from counterpoint_graphrec.protocol import Ranking
from counterpoint_graphrec.views import NodeViews

pytestmark = pytest.mark.unit

BATCH = 1024


@pytest.fixture(scope="module")
def music(shared_data: Path) -> InteractionArrays:
    return InteractionArrays("lastfm")


@pytest.fixture(scope="module")
def popularity(music: InteractionArrays) -> float:
    return Ranking().floors(music, "val", quick=True)["popularity"]["recall@20"]


def recall(method: type[Method], data: InteractionArrays, epochs: int, lr: float, **options: Any) -> float:
    """Recall@20 on val after ``epochs``."""
    torch.manual_seed(0)
    encoder = LightGCN(dim=32, layers=options.pop("layers", 2), first_layer=options.pop("first_layer", 0))
    encoder.prepare(data)
    built, views, order = method(encoder, **options).train(), NodeViews(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(built.parameter_groups(), lr=lr, fused=True)
    number, train = 0, data.splits()["train"]
    for _ in range(epochs):
        for rows in np.array_split(order.permutation(train), len(train) // BATCH):
            batch = data.batch(rows)
            built(views(batch, torch.Generator().manual_seed(number)), batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            built.after_step()
            number += 1
    built.eval()
    with torch.no_grad():
        return Ranking().measure(encoder, views, data, "val")["recall@20"]


@pytest.mark.parametrize(
    ("method", "epochs", "options"),
    [
        (BPRMF, 5, {"layers": 0, "lr": 0.03}),
        (LightGCNMethod, 2, {"lr": 0.003}),
        (SGL, 3, {"lr": 0.03}),
        (SimGCL, 1, {"lr": 0.01, "first_layer": 1}),
        (XSimGCL, 1, {"lr": 0.003, "first_layer": 1}),
        (SimCLR, 1, {"lr": 0.01, "objective": InfoNCE(0.2), "projector": lambda dim: torch.nn.Identity()}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_learns(
    method: type[Method], epochs: int, options: dict[str, Any], music: InteractionArrays, popularity: float
) -> None:
    found = recall(method, music, epochs, **options)
    assert found > 2 * popularity
