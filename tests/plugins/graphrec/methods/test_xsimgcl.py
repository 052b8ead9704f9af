"""XSimGCL: a whole step against the dense formulas, value and gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clicks import clicks
from counterpoint.errors import ConfigError
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.methods import XSimGCL
from counterpoint_graphrec.noise import signed_noise
from recommending import asked, made

pytestmark = pytest.mark.unit

WEIGHT, EPS, TEMPERATURE, LAMBDA2 = 0.4, 0.3, 0.25, 0.05


@pytest.fixture
def data(tmp_path: Path) -> InteractionArrays:
    return clicks(tmp_path)


def noisy_layers(table: Tensor, data: InteractionArrays, nodes: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Three dense layers; in the last one only the rows ``nodes`` are filled."""
    touched = torch.from_numpy(data.matrix("train").toarray()).double()
    adjacency = torch.zeros(len(table), len(table), dtype=torch.float64)
    adjacency[: data.n_users, data.n_users :], adjacency[data.n_users :, : data.n_users] = touched, touched.T
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    layers, adjacency = [table], scale[:, None] * adjacency * scale
    for k in (1, 2, 3):
        layer = adjacency @ layers[-1]
        rows = torch.arange(len(table)) if k < 3 else nodes
        fixed = layer[rows].detach()
        layers.append(layer.index_add(0, rows, signed_noise(fixed, EPS, generator) - fixed))
    return layers


def info_nce(anchors: Tensor, others: Tensor) -> Tensor:
    logits = F.normalize(anchors, dim=1) @ F.normalize(others, dim=1).T / TEMPERATURE
    return F.cross_entropy(logits, torch.arange(len(logits)))


@pytest.mark.parametrize("contrast_layer", [1, 2, 3])
def test_a_step_is_the_dense_formula_with_its_gradient(contrast_layer: int, data: InteractionArrays) -> None:
    settings = {"weight": WEIGHT, "eps": EPS, "temperature": TEMPERATURE, "lambda2": LAMBDA2}
    method = made(XSimGCL, data, {"layers": 3, "first_layer": 1}, contrast_layer=contrast_layer, **settings)
    views, batch = asked(data, rows=15)
    step = method.step(views, batch)
    step.loss.backward()

    table = method.encoder.table.detach().clone().requires_grad_()
    generator = torch.Generator().manual_seed(int(views[0].data["draw"][0]))
    users, items = batch.data["user"], batch.data["item"] + data.n_users
    others = method._negatives()(users, generator) + data.n_users
    layers = noisy_layers(table, data, torch.cat([users, items, others]).unique(), generator)
    final, partner = torch.stack(layers[1:]).mean(0), layers[contrast_layer]
    margin = (final[users] * final[items]).sum(1) - (final[users] * final[others]).sum(1)
    contrast = sum(info_nce(final[nodes], partner[nodes]) for nodes in (users.unique(), items.unique()))
    l2 = LAMBDA2 / (2 * len(batch)) * sum(table[nodes].square().sum() for nodes in (users, items, others))
    loss = -F.logsigmoid(margin).mean() + WEIGHT * contrast + l2
    loss.backward()
    torch.testing.assert_close(step.loss, loss)
    torch.testing.assert_close(method.encoder.table.grad, table.grad)


def test_the_layer_of_contrast_is_one_of_the_encoders(data: InteractionArrays) -> None:
    for layer in (0, 3):
        with pytest.raises(ConfigError, match=rf"contrast_layer: found {layer}; allowed: 1 to 2, the last layer"):
            made(XSimGCL, data, contrast_layer=layer)
    with pytest.raises(ConfigError, match=r"eps: found -1; allowed: a number of at least 0"):
        made(XSimGCL, data, eps=-1)
