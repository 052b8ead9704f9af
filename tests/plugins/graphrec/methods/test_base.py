"""What every method on a graph does: negatives, BPR, the regulariser in both forms, what it tells, what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from clicks import clicks
from counterpoint.errors import ConfigError, ShapeError
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.encoders import LightGCN
from counterpoint_graphrec.methods import BPRMF, SGL, GraphMethod, LightGCNMethod, SimGCL, XSimGCL
from counterpoint_graphrec.methods.base import distinct
from counterpoint_graphrec.views import NodeViews
from recommending import asked, made, passes, stepped

pytestmark = pytest.mark.unit

ALL: tuple[type[GraphMethod], ...] = (BPRMF, LightGCNMethod, SGL, SimGCL, XSimGCL)
LAYERS = {BPRMF: {"layers": 0}}


@pytest.fixture
def data(tmp_path: Path) -> InteractionArrays:
    return clicks(tmp_path)


@pytest.mark.parametrize("method", ALL)
def test_a_step_depends_on_its_views_alone(method: type[GraphMethod], data: InteractionArrays) -> None:
    """Neither on torch's generator nor on numpy's, and it leaves torch's as it was."""
    one, two = (made(method, data, LAYERS.get(method)) for _ in range(2))
    first = stepped(one, data, seed=4).loss
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(first, stepped(two, data, seed=4).loss)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, stepped(made(method, data, LAYERS.get(method)), data, seed=5).loss)


@pytest.mark.parametrize(("method", "number"), [(BPRMF, 1), (LightGCNMethod, 1), (SGL, 3), (SimGCL, 3), (XSimGCL, 1)])
def test_passes_over_the_graph(
    method: type[GraphMethod], number: int, data: InteractionArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = made(method, data, LAYERS.get(method))
    count = passes(built, monkeypatch)
    stepped(built, data)
    assert count == [number]


def test_bpr_is_of_the_batchs_items_against_items_that_the_user_did_not_touch(data: InteractionArrays) -> None:
    method = made(LightGCNMethod, data, lambda2=0.0, negatives=3)
    views, batch = asked(data, rows=6)
    generator = torch.Generator().manual_seed(int(views[0].data["draw"][0]))
    users, items = method.encoder.nodes()
    drawn = method._negatives()(batch.data["user"].repeat_interleave(3), generator).view(6, 3)
    touched = torch.from_numpy(data.matrix("train").toarray())
    assert not touched[batch.data["user"][:, None], drawn].any()
    user, item = users[batch.data["user"]], items[batch.data["item"]]
    margin = (user * item).sum(1, keepdim=True) - (user[:, None] * items[drawn]).sum(2)
    step = method.step(views, batch)
    torch.testing.assert_close(step.loss, -F.logsigmoid(margin).mean())
    torch.testing.assert_close(step.parts["auc"], (margin > 0).double().mean())
    assert step.pair is not None
    torch.testing.assert_close(step.pair, (user.detach(), item.detach()))


def test_the_usual_regulariser_is_the_squared_length_of_the_tables_rows(data: InteractionArrays) -> None:
    method = made(XSimGCL, data, lambda2=0.5, negatives=2)
    views, batch = asked(data)
    generator = torch.Generator().manual_seed(int(views[0].data["draw"][0]))
    drawn = method._negatives()(batch.data["user"].repeat_interleave(2), generator)
    users, items = method.encoder.table.split([data.n_users, data.n_items])
    rows = torch.cat([users[batch.data["user"]], items[batch.data["item"]], items[drawn]])
    expected = 0.5 / (2 * len(batch)) * rows.square().sum()
    torch.testing.assert_close(method.step(views, batch).parts["l2"], expected.detach())


@pytest.mark.parametrize("method", ALL)
def test_the_frameworks_regulariser_has_blocks_of_its_own_for_each_method(
    method: type[GraphMethod], data: InteractionArrays
) -> None:
    noise = {"eps": 0.0} if method in (SimGCL, XSimGCL) else {}
    built = made(method, data, LAYERS.get(method), regularisation="framework", lambda2=0.5, **noise)
    views, batch = asked(data)
    generator = torch.Generator().manual_seed(int(views[0].data["draw"][0]))
    drawn = built._negatives()(batch.data["user"], generator)
    on_table = method in (BPRMF, LightGCNMethod)
    users, items = built.encoder.table.split([data.n_users, data.n_items]) if on_table else built.encoder.nodes()
    blocks = [users[batch.data["user"]], items[batch.data["item"]]]
    blocks += [items[drawn]] if method not in (SimGCL, XSimGCL) else []
    expected = sum(0.5 * block.norm() / len(block) for block in blocks) / (len(batch) if on_table else 1)
    torch.testing.assert_close(built.step(views, batch).parts["l2"], expected.detach())


@pytest.mark.parametrize("method", ALL)
def test_one_direction_for_all_is_the_level_of_chance(method: type[GraphMethod], data: InteractionArrays) -> None:
    """All rows of one direction, which propagation keeps: every cosine is 1."""
    options = {"eps": 0.0} if method in (SimGCL, XSimGCL) else {"augmentation": "WA"} if method is SGL else {}
    built = made(method, data, LAYERS.get(method), lambda2=0.0, **options)
    direction = torch.ones(8, dtype=torch.float64)
    built.encoder.table.data = built.encoder.graph.degrees.double().clamp(min=1).sqrt()[:, None] * direction
    views, batch = asked(data)
    step = built.step(views, batch)
    users, items = len(set(batch.data["user"].tolist())), len(set(batch.data["item"].tolist()))
    level = built.weight * (math.log(users) + math.log(items))
    assert step.chance == pytest.approx(math.log(2) + level)
    if "contrast" in step.parts:
        assert built.weight * float(step.parts["contrast"]) == pytest.approx(level)
        assert float(step.parts["lambda"]) == pytest.approx(built.weight)
    total = step.parts["bpr"] + step.parts["l2"] + built.weight * step.parts.get("contrast", torch.tensor(0.0))
    torch.testing.assert_close(step.loss.detach(), total)


def test_a_loaded_state_of_another_graph_brings_its_negatives(data: InteractionArrays, tmp_path: Path) -> None:
    method = made(BPRMF, data, {"layers": 0})
    stepped(method, data)
    other = clicks(tmp_path, users=12, items=30, seed=3)
    method.load_state_dict(made(BPRMF, other, {"layers": 0}).state_dict())
    assert method._negatives().n_items == 30
    assert torch.isfinite(stepped(method, other).loss)


def test_what_is_refused(data: InteractionArrays) -> None:
    with pytest.raises(ConfigError, match=r"BPRMF: encoder.layers: found 2; allowed: 0\. With layers it is"):
        made(BPRMF, data)
    with pytest.raises(ConfigError, match=r"SimGCL: encoder.layers: found 0; allowed: at least 1"):
        made(SimGCL, data, {"layers": 0})
    with pytest.raises(ConfigError, match=r"regularisation: found 'framewrok'; .* Did you mean 'framework'\?"):
        made(LightGCNMethod, data, regularisation="framewrok")
    with pytest.raises(ConfigError, match=r"negatives: found 0; allowed: a number of at least 1"):
        made(LightGCNMethod, data, negatives=0)
    with pytest.raises(ConfigError, match=r"lambda2: found -1; allowed: a number of at least 0"):
        made(LightGCNMethod, data, lambda2=-1)
    method, (views, batch) = made(LightGCNMethod, data), asked(data)
    with pytest.raises(ShapeError, match=r"modalities of the views: found user; allowed: user and item"):
        method.step([views[0], views[0]], batch)
    with pytest.raises(ConfigError, match=r"LightGCN: graph: found none"):
        LightGCNMethod(LightGCN()).step(views, batch)
    one = data.batch([0])
    with pytest.raises(ShapeError, match=r"1 sample"):
        method(NodeViews()(one, torch.Generator()), one)


@pytest.mark.parametrize("size", [40, 100_000])
def test_distinct_numbers_and_where_each_is(size: int) -> None:
    """By marks where the numbers are many, by sorting where they are few."""
    numbers = torch.randint(0, 40, (60,), generator=torch.Generator().manual_seed(0))
    found, places = distinct(numbers, size)
    expected = torch.unique(numbers, return_inverse=True)
    assert torch.equal(found, expected[0]) and torch.equal(places, expected[1])
    assert found[places].equal(numbers)
