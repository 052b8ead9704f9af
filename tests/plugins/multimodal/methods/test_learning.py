"""Each method learns on drawn shapes: pictures find their texts, and better than before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from counterpoint.methods import Method, Pair
from counterpoint.objectives import Sigmoid
from counterpoint.parts import Views
from counterpoint_multimodal.data import PairArrays
from counterpoint_multimodal.data.examples import arrays
from counterpoint_multimodal.encoders import TwoTowers
from counterpoint_multimodal.methods import SLIP, Rocket
from counterpoint_multimodal.views import PairViews, RocketViews, SLIPViews

pytestmark = pytest.mark.unit

SMALL = {
    "dim": 16,
    "image_options": {"width": 8},
    "text_width": 16,
    "text_layers": 1,
    "text_heads": 2,
    "vocabulary": 300,
}
STEPS, ROWS = 40, 24

HEADS = {"extra_options": {"hidden_dim": 32, "out_dim": 16}}
CASES: dict[str, tuple[type[Method], type[Views], dict[str, Any]]] = {
    "clip": (Pair, PairViews, {"projector": nn.Identity}),
    "siglip": (Pair, PairViews, {"projector": nn.Identity, "objective": Sigmoid()}),
    "rocket": (Rocket, RocketViews, {}),
    "rocket, barlip": (Rocket, RocketViews, {"extra": "barlip", **HEADS}),
    "rocket, siamlip": (Rocket, RocketViews, {"extra": "siamlip", **HEADS}),
    "rocket, byolip": (Rocket, RocketViews, {"extra": "byolip", **HEADS}),
    "rocket, swalip": (Rocket, RocketViews, {"extra": "swalip", "smoothing": 0.0}),
    "rocket, swalipv1": (Rocket, RocketViews, {"extra": "swalipv1", **HEADS}),
    "slip": (SLIP, SLIPViews, {}),
    "slip, byol": (SLIP, SLIPViews, {"image_loss": "byol"}),
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> PairArrays:
    return PairArrays(**arrays(tmp_path_factory.mktemp("shapes")))


@pytest.mark.parametrize("name", CASES)
def test_the_right_text_comes_nearer(name: str, shapes: PairArrays) -> None:
    torch.manual_seed(0)
    made, drawn, options = CASES[name]
    encoder = TwoTowers(**SMALL, local_heads=made is Rocket, local_hidden=32)
    encoder.prepare(shapes)
    method, views = made(encoder, **options), drawn(size=16)
    batch = shapes.batch(shapes.splits()["train"][:ROWS].tolist())

    def rank() -> float:
        """Mean place of the right text among those of the batch."""
        method.eval()
        with torch.no_grad():
            image, text = (F.normalize(encoder(view).pooled, dim=1) for view in views.plain(batch))
        method.train()
        scores = image @ text.T
        return float((scores > scores.diag()[:, None]).sum(1).float().mean())

    before, method.total_steps = rank(), STEPS
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=1e-2)
    for number in range(STEPS):
        step = method(views(batch, torch.Generator().manual_seed(number)), batch)
        step.loss.backward()
        method.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    assert torch.isfinite(step.loss)
    assert rank() < before / 2
