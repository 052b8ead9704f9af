"""torch-geometric's layers by name, and LightGCN against torch-geometric's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clicks import clicks
from counterpoint.errors import ConfigError
from counterpoint_graphrec.encoders import LightGCN, PyGConv

pytestmark = [pytest.mark.unit, pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_lgconv_is_lightgcn(tmp_path: Path) -> None:
    data, encoders = clicks(tmp_path), (LightGCN(dim=8, layers=3), PyGConv("LGConv", dim=8, layers=3))
    for encoder in encoders:
        torch.manual_seed(0)
        encoder.prepare(data)
    ours, theirs = (torch.stack(encoder.propagate()) for encoder in encoders)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    nodes = torch.tensor([1, 15])
    torch.testing.assert_close(theirs[:, nodes], torch.stack(encoders[1].propagate(nodes=nodes)))


@pytest.mark.parametrize("first", [0, 1])
def test_the_mean_is_that_of_torch_geometrics_model_with_the_same_weights_of_layers(tmp_path: Path, first: int) -> None:
    from torch_geometric.nn import LightGCN as Theirs

    data, encoder = clicks(tmp_path), LightGCN(dim=8, layers=3, first_layer=first)
    encoder.prepare(data)
    alpha = torch.tensor([0.0] * first + [1 / (4 - first)] * (4 - first))
    theirs = Theirs(data.n_users + data.n_items, 8, num_layers=3, alpha=alpha)
    theirs.embedding.weight.data.copy_(encoder.table.detach())
    users, items = encoder.graph.users.long(), encoder.graph.items.long() + data.n_users
    both = torch.stack([torch.cat([users, items]), torch.cat([items, users])])
    torch.testing.assert_close(torch.cat(encoder.nodes()), theirs.get_embedding(both), rtol=0, atol=1e-6)


def test_a_layer_with_weights_learns_them_and_takes_options(tmp_path: Path) -> None:
    encoder = PyGConv("SAGEConv", dim=8, layers=2, options={"aggr": "max"})
    encoder.prepare(clicks(tmp_path))
    torch.cat(encoder.nodes()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
    assert encoder.convolutions[0].aggr == "max"


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"name: found 'SageConf'; .* Did you mean 'SAGEConv'\?"):
        PyGConv("SageConf")
    with pytest.raises(ConfigError, match=r"options: found \{'agr': 'max'\}; allowed: arguments of SAGEConv"):
        PyGConv("SAGEConv", options={"agr": "max"})
    with pytest.raises(ConfigError, match=r"name: found MixHopConv, which gives \(2, 24\) for two nodes; allowed"):
        PyGConv("MixHopConv", dim=8)
    with pytest.raises(ConfigError, match=r"name: found PointNetConv, which gives TypeError"):
        PyGConv("PointNetConv")
