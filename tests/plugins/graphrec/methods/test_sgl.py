"""SGL: its graphs, when they are drawn, and that a resumed training has the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clicks import clicks
from counterpoint.errors import ConfigError
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.graph import BipartiteGraph
from counterpoint_graphrec.methods import SGL
from recommending import asked, made, passes, stepped

pytestmark = pytest.mark.unit


@pytest.fixture
def data(tmp_path: Path) -> InteractionArrays:
    return clicks(tmp_path, users=30, items=12)


def graphs(method: SGL, seed: int = 1) -> list[list[BipartiteGraph]]:
    return method._graphs(torch.Generator().manual_seed(seed))


def edges(graph: BipartiteGraph) -> set[tuple[int, int]]:
    return set(zip(graph.users.tolist(), graph.items.tolist(), strict=True))


def test_edge_dropout_keeps_a_share_of_the_edges_in_one_graph_for_each_view(data: InteractionArrays) -> None:
    method = made(SGL, data, drop=0.25)
    first, second = graphs(method)
    assert first[0] is first[1] and second[0] is second[1]
    kept = int(0.75 * method.encoder.graph.n_edges)
    assert len(edges(first[0])) == len(edges(second[0])) == kept
    assert edges(first[0]) != edges(second[0])


def test_node_dropout_takes_all_edges_of_a_node(data: InteractionArrays) -> None:
    method = made(SGL, data, augmentation="ND", drop=0.25)
    whole = method.encoder.graph.degrees
    for graph, _ in graphs(method):
        lost = (graph.degrees == 0) & (whole > 0)
        assert int(lost[: data.n_users].sum()) >= int(0.25 * data.n_users)


def test_the_random_walk_has_another_graph_in_each_layer(data: InteractionArrays) -> None:
    """As published; the released code has one for all layers by mistake."""
    found = [edges(graph) for view in graphs(made(SGL, data, augmentation="RW")) for graph in view]
    assert len(found) == 4
    assert all(found[i] != found[j] for i in range(4) for j in range(i))


def test_without_augmentation_there_is_one_pass(data: InteractionArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(SGL, data, augmentation="WA")
    count = passes(method, monkeypatch)
    step = stepped(method, data)
    assert count == [1]
    assert float(step.parts["positive"]) == pytest.approx(1)


def test_nothing_dropped_is_no_augmentation(data: InteractionArrays) -> None:
    losses = [stepped(made(SGL, data, **options), data).loss for options in ({"drop": 0.0}, {"augmentation": "WA"})]
    torch.testing.assert_close(*losses)


def test_graphs_live_for_as_many_interactions_as_there_are(data: InteractionArrays) -> None:
    method, draws = made(SGL, data), []
    steps = -(-method.encoder.graph.n_edges // 40)
    for number in range(2 * steps):
        views, batch = asked(data, rows=40, seed=number)
        method.step(views, batch)
        draws.append(int(method.graph_draw))
        if number in (0, steps):
            assert draws[-1] == int(views[0].data["draw"][0])
        method.after_step()
    assert draws == [draws[0]] * steps + [draws[steps]] * steps
    assert draws[0] != draws[steps]


def test_a_resumed_training_has_the_same_graphs(data: InteractionArrays) -> None:
    whole = made(SGL, data)
    stepped(whole, data, seed=0)
    whole.after_step()
    again = made(SGL, data)
    again.load_state_dict(whole.state_dict())
    torch.testing.assert_close(stepped(again, data, seed=1).loss, stepped(whole, data, seed=1).loss, rtol=0, atol=0)
    assert int(again.graph_age) == 10


def test_what_is_refused(data: InteractionArrays) -> None:
    with pytest.raises(ConfigError, match=r"augmentation: found 'EDGE'; allowed: 'ED' or 'ND' or 'RW' or 'WA'"):
        made(SGL, data, augmentation="EDGE")
    with pytest.raises(ConfigError, match=r"drop: found 1; allowed: at least 0, below 1"):
        made(SGL, data, drop=1)
