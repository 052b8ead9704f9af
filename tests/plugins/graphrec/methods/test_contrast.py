"""The contrast of nodes: its limits, its sets, and any of the core's objectives in it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from clicks import clicks
from counterpoint.errors import ConfigError
from counterpoint.objectives import DCL, BarlowTwins, InfoNCE, NegativeCosine, NTXent, Objective, Sigmoid, VICReg
from counterpoint_graphrec.data import InteractionArrays
from counterpoint_graphrec.methods import SGL, LightGCNMethod, SimGCL, XSimGCL
from counterpoint_graphrec.views import NodeViews
from recommending import asked, made, stepped

pytestmark = pytest.mark.unit


@pytest.fixture
def data(tmp_path: Path) -> InteractionArrays:
    return clicks(tmp_path)


def self_contrast(rows: torch.Tensor, temperature: float) -> torch.Tensor:
    """``mean_i log sum_j exp((cos_ij - 1) / temperature)``."""
    unit = torch.nn.functional.normalize(rows, dim=1)
    return torch.logsumexp((unit @ unit.T - 1) / temperature, dim=1).mean()


def test_one_layer_without_noise_contrasts_each_node_with_itself(data: InteractionArrays) -> None:
    """Invariant: E_rec is E_cl, every positive has similarity 1, and this is SGL without augmentation."""
    options = {"eps": 0.0, "temperature": 0.3, "contrast_layer": 1}
    method = made(XSimGCL, data, {"layers": 1, "first_layer": 1}, **options)
    views, batch = asked(data)
    step = method.step(views, batch)
    users, items = method.encoder.nodes()
    expected = self_contrast(users[batch.data["user"].unique()], 0.3)
    expected = expected + self_contrast(items[batch.data["item"].unique()], 0.3)
    torch.testing.assert_close(step.parts["contrast"], expected.detach())
    assert float(step.parts["positive"]) == pytest.approx(1)
    plain = made(SGL, data, {"layers": 1, "first_layer": 1}, augmentation="WA", temperature=0.3)
    torch.testing.assert_close(plain.step(views, batch).parts["contrast"], step.parts["contrast"])


def test_a_node_alone_has_nothing_to_be_told_apart_from(data: InteractionArrays) -> None:
    method = made(XSimGCL, data, objective=BarlowTwins())
    pairs = data.pairs_of("train")
    item = int(torch.mode(torch.from_numpy(pairs[:, 1])).values)
    own = torch.from_numpy(data.pairs[:, 1] == item).nonzero().squeeze(1)
    train = [i for i in own.tolist() if i in set(data.splits()["train"].tolist())]
    batch = data.batch(train)
    step = method.step(NodeViews()(batch, torch.Generator().manual_seed(0)), batch)
    assert len(batch) > 1 and len(batch.data["item"].unique()) == 1
    assert torch.isfinite(step.loss)
    alone = data.batch([train[0], train[0]])
    step = method.step(NodeViews()(alone, torch.Generator().manual_seed(0)), alone)
    assert float(step.parts["contrast"]) == 0
    assert step.chance == pytest.approx(math.log(2))


def test_without_weight_and_noise_it_is_lightgcn_without_layer_0(data: InteractionArrays) -> None:
    encoder = {"layers": 2, "first_layer": 1}
    expected = stepped(made(LightGCNMethod, data, encoder), data).loss
    for method in (XSimGCL, SimGCL):
        built = made(method, data, encoder, weight=0.0, eps=0.0)
        torch.testing.assert_close(stepped(built, data).loss, expected, rtol=1e-14, atol=0)


OBJECTIVES = [DCL(0.2), NTXent(0.2), InfoNCE(0.2, learnable_temperature=True), Sigmoid(), BarlowTwins(), VICReg()]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("method", [SGL, SimGCL, XSimGCL])
def test_any_objective_that_compares_embeddings_takes_part(
    method: type, objective: Objective, data: InteractionArrays
) -> None:
    built = made(method, data, objective=objective)
    step = stepped(built, data)
    assert torch.isfinite(step.loss)
    step.loss.backward()
    assert all(p.grad is not None for p in built.parameters())
    level = [objective.chance(n) for n in (2, 3)]
    assert (step.chance is None) == (None in level)
    dict(step.parts)


def test_a_set_holds_a_node_once_and_kinds_do_not_mix_unless_they_are_joint(data: InteractionArrays) -> None:
    views, batch = asked(data, rows=20)
    users, items = len(batch.data["user"].unique()), len(batch.data["item"].unique())
    assert users < 20 and items < 20
    apart, joint = (made(SGL, data, joint=flag, weight=1.0).step(views, batch).chance for flag in (False, True))
    assert apart == pytest.approx(math.log(2) + math.log(users) + math.log(items))
    assert joint == pytest.approx(math.log(2) + math.log(users + items))


def test_what_is_refused(data: InteractionArrays) -> None:
    with pytest.raises(ConfigError, match=r"XSimGCL: objective: found NegativeCosine; allowed: one that is called"):
        made(XSimGCL, data, objective=NegativeCosine())
    with pytest.raises(ConfigError, match=r"weight: found -0.1; allowed: a number of at least 0"):
        made(SimGCL, data, weight=-0.1)
