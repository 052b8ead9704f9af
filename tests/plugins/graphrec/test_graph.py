"""The normalised product against its dense form, its laws, and thinned graphs."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from counterpoint.errors import ConfigError, DataError
from counterpoint_graphrec import graph as graphs
from counterpoint_graphrec.graph import BipartiteGraph, drop_edges, drop_nodes

pytestmark = pytest.mark.unit

USERS, ITEMS, N = 30, 20, 50
NOBODY, UNTOUCHED = 3, 5


@dataclass
class Small:
    """Who touched what, with an isolated user and an isolated item; its graph, and the dense form in float64."""

    touched: Tensor
    graph: BipartiteGraph

    @property
    def dense(self) -> Tensor:
        adjacency = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
        adjacency[:USERS, USERS:] = self.touched
        adjacency = adjacency + adjacency.T
        degrees = adjacency.sum(1)
        scale = torch.where(degrees > 0, degrees.rsqrt(), 0)
        return scale[:, None] * adjacency * scale


@pytest.fixture
def small(generator: torch.Generator) -> Small:
    touched = torch.rand(USERS, ITEMS, generator=generator) < 0.2
    touched[NOBODY], touched[:, UNTOUCHED] = False, False
    users, items = touched.nonzero().unbind(1)
    order = torch.randperm(len(users), generator=generator)
    return Small(touched, BipartiteGraph(users[order], items[order], USERS, ITEMS))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def double(columns, generator):
    return torch.randn(N, columns, dtype=torch.float64, generator=generator, requires_grad=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("columns", [1, 7, 64])
def test_propagation_equals_the_dense_product(small, generator, dtype, tolerance, columns):
    x = double(columns, generator)
    torch.testing.assert_close(
        small.graph.propagate(x.to(dtype)), (small.dense @ x).to(dtype), atol=tolerance, rtol=tolerance
    )


def test_gradient_of_propagation(small, generator):
    assert gradcheck(small.graph.propagate, (double(3, generator),))


def test_columns_that_are_not_contiguous(small, generator):
    x = torch.randn(4, N, dtype=torch.float64, generator=generator).T
    torch.testing.assert_close(small.graph.propagate(x), small.dense @ x, atol=1e-13, rtol=0)
    x.requires_grad_()
    small.graph.propagate(x).sum().backward()  # the gradient of a sum is expanded, without memory of its own
    torch.testing.assert_close(x.grad, (small.dense.sum(0)[:, None]).expand(N, 4), atol=1e-13, rtol=0)


def test_the_adjacency_is_symmetric_and_has_root_degree_as_eigenvector_of_one(small):
    adjacency = small.graph.propagate(torch.eye(N, dtype=torch.float64))
    assert torch.equal(adjacency, adjacency.T)
    root = small.graph.degrees.double().sqrt()[:, None]
    torch.testing.assert_close(small.graph.propagate(root), root, atol=1e-13, rtol=0)
    spectrum = torch.linalg.eigvalsh(adjacency)
    torch.testing.assert_close(spectrum, -spectrum.flip(0), atol=1e-12, rtol=0)
    assert float(spectrum.abs().max()) == pytest.approx(1)


def test_isolated_nodes_get_zero(small, generator):
    out = small.graph.propagate(double(4, generator))
    assert small.graph.degrees.eq(0).any() and not out[small.graph.degrees == 0].any()


@pytest.mark.parametrize("few", [0.0, 1.0])
@pytest.mark.parametrize("nodes", [[], [0], [3], [49, 0, 0, 31, 3, 35], list(range(N))])
def test_rows_are_those_of_the_whole_with_their_gradient(small, generator, monkeypatch, few, nodes):
    monkeypatch.setattr(graphs, "FEW", few)
    asked, x = torch.tensor(nodes, dtype=torch.int64), double(3, generator)
    got, expected = small.graph.rows(x, asked), (small.dense @ x)[asked]
    torch.testing.assert_close(got, expected, atol=1e-13, rtol=0)
    weight = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    (a,), (b,) = (torch.autograd.grad((y * weight).sum(), x) for y in (got, expected))
    torch.testing.assert_close(a, b, atol=1e-13, rtol=0)
    if nodes:
        assert gradcheck(lambda x: small.graph.rows(x, asked), (x,))


def test_only_the_asked_edges_are_visited_when_they_are_few(small, generator, monkeypatch):
    monkeypatch.setattr(BipartiteGraph, "propagate", None)
    x = double(3, generator)
    small.graph.rows(x, torch.tensor([0, 31])).sum().backward()
    with pytest.raises(TypeError, match="NoneType"):
        small.graph.rows(x, torch.arange(N))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_the_order_and_type_of_the_edges_do_not_matter(small, generator, dtype):
    users, items = (ends.to(dtype) for ends in small.touched.nonzero().unbind(1))
    other = BipartiteGraph(users, items, 30, 20)
    assert torch.equal(other.users, users.int()) and torch.equal(other.items, items.int())
    x = double(2, generator)
    assert torch.equal(other.propagate(x), small.graph.propagate(x))


def test_a_graph_without_edges(generator):
    none = torch.zeros(0, dtype=torch.int64)
    graph = BipartiteGraph(none, none, 30, 20)
    x = double(2, generator)
    assert not graph.propagate(x).any() and not graph.rows(x, torch.tensor([1, 40])).any()
    assert drop_edges(graph, 0.1, generator).n_edges == 0


def test_it_moves_and_is_copied_with_its_module_and_is_not_saved(small, generator):
    module = nn.Module()
    module.graph = small.graph
    assert module.state_dict() == {} and not list(module.buffers())
    x = double(2, generator)
    copied = copy.deepcopy(module).double().to("cpu")
    assert torch.equal(copied.graph.propagate(x), small.graph.propagate(x))
    elsewhere = copied.to("meta").graph
    assert elsewhere.items.is_meta and elsewhere.propagate(x.detach().to("meta")).is_meta
    assert torch.equal(small.graph.items, small.touched.nonzero()[:, 1])


def test_training_goes_on_after_a_pass_in_inference_mode(small, generator):
    """The weights that such a pass leaves behind are inference tensors, which autograd would not save."""
    x, nodes = double(2, generator), torch.tensor([0, 31])
    with torch.inference_mode():
        small.graph.propagate(x)
    for out in (small.graph.propagate(x)[nodes], small.graph.rows(x, nodes)):
        (gradient,) = torch.autograd.grad(out.sum(), x)
        torch.testing.assert_close(gradient, small.dense[nodes].sum(0)[:, None].expand(N, 2), atol=1e-13, rtol=0)


def test_a_mask_keeps_its_edges(small, generator):
    keep = torch.rand(small.graph.n_edges, generator=generator) < 0.5
    thinned = small.graph.without_edges(keep)
    users, items = small.touched.nonzero()[keep].unbind(1)
    assert torch.equal(thinned.users, users.int()) and torch.equal(thinned.items, items.int())
    touched = torch.zeros_like(small.touched)
    touched[users, items] = True
    x = double(5, generator)
    torch.testing.assert_close(thinned.propagate(x), Small(touched, thinned).dense @ x, atol=1e-13, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.55])
def test_dropped_edges_are_the_rate_and_the_rest_is_normalised_anew(small, generator, rate):
    thinned = drop_edges(small.graph, rate, generator)
    assert thinned.n_edges == int((1 - rate) * small.graph.n_edges)
    assert small.touched[thinned.users, thinned.items].all()
    root = thinned.degrees.double().sqrt()[:, None]
    torch.testing.assert_close(thinned.propagate(root), root, atol=1e-13, rtol=0)
    x = double(2, generator)
    assert torch.equal(thinned.propagate(x), small.graph.propagate(x)) == (rate == 0)


def test_dropped_nodes_are_isolated_and_the_rest_keeps_its_edges(small, generator):
    whole = torch.ones(30, 20, dtype=torch.bool).nonzero().unbind(1)
    thinned = drop_nodes(BipartiteGraph(*whole, 30, 20), 0.1, generator)
    assert thinned.n_edges == 27 * 18 and int((thinned.degrees == 0).sum()) == 5
    thinned = drop_nodes(small.graph, 0.2, generator)
    lost = small.touched.clone()
    lost[thinned.users, thinned.items] = False
    assert ((thinned.degrees[:30] == 0)[:, None] | (thinned.degrees[30:] == 0))[lost].all()


@pytest.mark.parametrize("drop", [drop_edges, drop_nodes])
def test_what_is_dropped_is_a_function_of_the_generator(small, drop):
    first, same, other = (drop(small.graph, 0.3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.users, same.users) and torch.equal(first.items, same.items)
    assert first.users.tolist() != other.users.tolist() or first.items.tolist() != other.items.tolist()


def test_wrong_edges_are_named(small, generator):
    one, two = torch.tensor([1]), torch.tensor([1, 2])
    with pytest.raises(DataError, match=r"users \(1,\), items \(2,\)"):
        BipartiteGraph(one, two, 3, 3)
    with pytest.raises(DataError, match="items: found numbers from 1 to 2; allowed: 0 to 1"):
        BipartiteGraph(two, two, 3, 2)
    with pytest.raises(DataError, match="user 1 with item 2 more than once"):
        BipartiteGraph(torch.tensor([1, 0, 1]), torch.tensor([2, 0, 2]), 3, 3)
    with pytest.raises(DataError, match=r"keep: found torch.bool \(2,\); allowed: bool"):
        small.graph.without_edges(torch.ones(2, dtype=torch.bool))
    for drop in (drop_edges, drop_nodes):
        with pytest.raises(ConfigError, match="rate: found 1"):
            drop(small.graph, 1, generator)
