"""LightGCN: powers of the dense adjacency, newcomers, passes under draws, what is kept, and what is saved."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clicks import clicks
from counterpoint.errors import ConfigError, ShapeError
from counterpoint.training.encoder_files import load_weights, save_weights
from counterpoint.types import View
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.encoders import LightGCN
from counterpoint_graphrec.graph import drop_edges

pytestmark = pytest.mark.unit


@pytest.fixture
def data(tmp_path: Path) -> InteractionArrays:
    return clicks(tmp_path)


def prepared(data: InteractionArrays, seed: int = 0, **options: int) -> LightGCN:
    torch.manual_seed(seed)
    encoder = LightGCN(**{"dim": 8, **options}).double()
    encoder.prepare(data)
    return encoder


def dense(data: InteractionArrays) -> Tensor:
    """The normalised adjacency, from the matrix itself."""
    touched = torch.from_numpy(data.matrix("train").toarray()).double()
    top = torch.cat([torch.zeros(data.n_users, data.n_users), touched], 1)
    below = torch.cat([touched.T, torch.zeros(data.n_items, data.n_items)], 1)
    adjacency = torch.cat([top, below])
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    return scale[:, None] * adjacency * scale


def view(nodes: list[int], modality: str = "user", draw: int | list[int] = 0, noise: float = 0.0) -> View:
    draws = torch.tensor([draw] * len(nodes) if isinstance(draw, int) else draw)
    return View({"node": torch.tensor(nodes), "draw": draws, "noise": torch.full((len(nodes),), noise)}, modality)


def test_layers_are_powers_of_the_dense_adjacency_and_the_mean_is_of_those_that_count(data: InteractionArrays) -> None:
    for first in (0, 1, 3):
        encoder = prepared(data, layers=3, first_layer=first)
        matrix, expected = dense(data), [encoder.table.detach()]
        for _ in range(3):
            expected.append(matrix @ expected[-1])
        layers = encoder.propagate()
        torch.testing.assert_close(torch.stack(layers).detach(), torch.stack(expected))
        users, items = encoder.nodes()
        mean = torch.stack(expected[first:]).mean(0)
        torch.testing.assert_close(torch.cat([users, items]).detach(), mean)
        assert (len(users), len(items)) == (data.n_users, data.n_items)


def test_rows_of_some_nodes_are_those_of_the_whole_pass_with_their_gradient(data: InteractionArrays) -> None:
    encoder, nodes = prepared(data), torch.tensor([0, 4, 12, 20])
    (whole,) = torch.autograd.grad(encoder.final(encoder.propagate())[nodes].square().sum(), encoder.table)
    some = encoder.final(encoder.propagate(nodes=nodes))
    torch.testing.assert_close(some, encoder.final(encoder.propagate())[nodes])
    (part,) = torch.autograd.grad(some.square().sum(), encoder.table)
    torch.testing.assert_close(part, whole)


def test_without_layers_it_is_the_table(data: InteractionArrays) -> None:
    encoder = prepared(data, layers=0)
    torch.testing.assert_close(torch.cat(encoder.nodes()), encoder.table)
    assert encoder(view([1, 2])).tokens.shape == (2, 1, 8)


def test_each_layer_may_have_a_graph_of_its_own(data: InteractionArrays) -> None:
    encoder = prepared(data, layers=2)
    thinned = drop_edges(encoder.graph, 0.5, torch.Generator().manual_seed(0))
    layers = encoder.propagate(graphs=[thinned, encoder.graph])
    torch.testing.assert_close(layers[1], thinned.propagate(encoder.table))
    torch.testing.assert_close(layers[2], encoder.graph.propagate(layers[1]))


def test_the_table_is_xavier_uniform_by_kind_and_follows_the_global_seed(data: InteractionArrays) -> None:
    encoder = prepared(data, dim=64)
    for part, size in ((encoder.table[: data.n_users], data.n_users), (encoder.table[data.n_users :], data.n_items)):
        bound = (6 / (size + 64)) ** 0.5
        assert 0.95 * bound < float(part.detach().abs().max()) <= bound
    assert torch.equal(prepared(data, dim=64).table, encoder.table)
    assert not torch.equal(prepared(data, seed=1, dim=64).table, encoder.table)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_newcomer_is_a_node_that_listens_and_is_not_heard(data: InteractionArrays, first: int) -> None:
    encoder = prepared(data, layers=3, first_layer=first)
    chosen = [0, 3, 7]
    degrees = torch.from_numpy(data.matrix("train").sum(0)).double().clamp(min=1)
    layers = [torch.zeros(8, dtype=torch.float64)]
    for before in encoder.propagate()[:3]:
        heard = [before[data.n_users + i].detach() / (degrees[i] * len(chosen)).sqrt() for i in chosen]
        layers.append(torch.stack(heard).sum(0))
    expected = torch.stack(layers[first:]).mean(0)
    torch.testing.assert_close(encoder.fold_in()[chosen].sum(0) / len(chosen) ** 0.5, expected)


def test_an_existing_user_without_an_embedding_of_its_own_is_folded_in_exactly_by_one_layer(
    data: InteractionArrays,
) -> None:
    encoder = prepared(data, layers=1, first_layer=1)
    own = encoder.history(5)
    torch.testing.assert_close(encoder.fold_in()[own].sum(0) / len(own) ** 0.5, encoder.nodes()[0][5].detach())


def test_without_layers_nothing_reaches_a_newcomer(data: InteractionArrays) -> None:
    with pytest.raises(ConfigError, match=r"layers: found 0; allowed: at least 1. Train with layers=1"):
        prepared(data, layers=0).fold_in()


def test_a_draw_is_a_pass_and_rows_may_hold_several(data: InteractionArrays) -> None:
    encoder = prepared(data, layers=1, first_layer=1)
    clean = encoder(view([0, 1])).pooled
    noisy = encoder(view([0, 1], draw=5, noise=0.25)).pooled
    torch.testing.assert_close((noisy - clean).norm(dim=1), torch.full((2,), 0.25).double(), rtol=1e-3, atol=1e-3)
    assert torch.equal(noisy, encoder(view([0, 1], draw=5, noise=0.25)).pooled)
    assert not torch.equal(noisy, encoder(view([0, 1], draw=6, noise=0.25)).pooled)
    mixed = encoder(view([0, 0, 1, 1], draw=[5, 0, 5, 0], noise=0.25))
    torch.testing.assert_close(mixed.pooled[[0, 2]], noisy)
    torch.testing.assert_close(mixed.pooled[[1, 3]], clean)
    assert mixed.tokens.shape == (4, 2, 8)


def test_users_and_items_are_numbered_apart(data: InteractionArrays) -> None:
    encoder = prepared(data)
    users, items = encoder.nodes()
    torch.testing.assert_close(encoder(view([2, 2, 0])).pooled, users[[2, 2, 0]])
    torch.testing.assert_close(encoder(view([8, 1], "item")).pooled, items[[8, 1]])
    for nodes, modality, allowed in (([12], "user", "0 to 11"), ([-1], "item", "0 to 8")):
        with pytest.raises(ShapeError, match=rf"view.data\['node'\] \({modality}s\): .* allowed: {allowed}"):
            encoder(view(nodes, modality))
    with pytest.raises(ShapeError, match=r"view.modality: found 'shop'; allowed: 'user' or 'item'"):
        encoder(view([0], "shop"))


def test_the_clean_pass_is_kept_until_the_weights_change(
    data: InteractionArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, passes = prepared(data), [0]
    run = encoder.propagate

    def counted(*args: object, **options: object) -> list[Tensor]:
        passes[0] += 1
        return run(*args, **options)

    monkeypatch.setattr(encoder, "propagate", counted)
    optimizer = torch.optim.Adam([encoder.table], fused=True)
    encoder.eval()
    with torch.no_grad():
        for _ in range(3):
            encoder(view([0, 1]))
            encoder.nodes()
        assert passes == [1]
        encoder.load_state_dict(prepared(data, seed=1).state_dict())
        torch.testing.assert_close(torch.cat(encoder.nodes()), encoder.final(run()))
        assert passes == [2]
    encoder(view([0])).pooled.sum().backward()
    assert passes == [3]
    optimizer.step()  # fused: the table's version stays as it was
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(encoder.nodes()), encoder.final(run()))
        assert passes == [4]
        encoder.table.add_(1)
        torch.testing.assert_close(torch.cat(encoder.nodes()), encoder.final(run()))
        assert passes == [5]
    encoder.requires_grad_(False)
    encoder.nodes()
    assert passes == [5]  # nothing can learn
    encoder.train()
    encoder(view([0]))
    assert passes == [6]


def test_a_copy_does_not_answer_with_the_original(data: InteractionArrays) -> None:
    encoder = prepared(data).eval().requires_grad_(False)
    encoder.nodes()
    twin = copy.deepcopy(encoder)
    twin.table.mul_(2)
    torch.testing.assert_close(twin.nodes()[0], 2 * encoder.nodes()[0])


def test_a_blank_encoder_takes_shape_and_graph_from_the_file(data: InteractionArrays, tmp_path: Path) -> None:
    encoder = prepared(data, layers=2)
    save_weights(encoder, tmp_path / "model.safetensors")
    blank = LightGCN(dim=8, layers=2).double()
    load_weights(blank, tmp_path / "model.safetensors")
    torch.testing.assert_close(torch.cat(blank.nodes()), torch.cat(encoder.nodes()))
    assert (blank.matrix() != data.matrix("train")).nnz == 0
    for user in (0, 7, 11):
        assert np.array_equal(blank.history(user).numpy(), data.matrix("train")[[user]].indices)
    with pytest.raises(ShapeError, match=r"user: found 12; allowed: 0 to 11"):
        blank.history(12)


def test_a_state_of_other_sizes_reshapes_a_prepared_one_and_keeps_the_parameter(
    data: InteractionArrays, tmp_path: Path
) -> None:
    encoder, other = prepared(data), prepared(clicks(tmp_path, users=20, items=7))
    table = encoder.table
    encoder.load_state_dict(other.state_dict())
    assert encoder.table is table
    torch.testing.assert_close(torch.cat(encoder.nodes()), torch.cat(other.nodes()))
    with pytest.raises(RuntimeError, match="size mismatch for table"):
        LightGCN(dim=4).load_state_dict(other.state_dict())


def test_what_is_refused(data: InteractionArrays) -> None:
    with pytest.raises(ConfigError, match=r"LightGCN: graph: found none; .* Call prepare\(dataset\), or load"):
        LightGCN()(view([0]))
    with pytest.raises(ConfigError, match=r"LightGCN: dataset: found Catalogue; allowed: interactions"):
        LightGCN().prepare(data.entities())
    with pytest.raises(ConfigError, match=r"first_layer: found 3; allowed: 0 to 2"):
        LightGCN(layers=2, first_layer=3)
    with pytest.raises(ConfigError, match=r"dim: found 0; allowed: a whole number from 1"):
        LightGCN(dim=0)
    with pytest.raises(ShapeError, match=r"view.data: found node; allowed: node, draw and noise"):
        prepared(data)(View({"node": torch.zeros(1, dtype=torch.int64)}, "user"))
