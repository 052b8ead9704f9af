"""SepCLR's frame: two encoders and two heads, the origin as the only label, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import SepCLR
from counterpoint.nn import TwoSpaces
from counterpoint.objectives import NTXent
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, View
from learners import Net, batch_of, two_views

pytestmark = pytest.mark.unit


def batch(rows: int = 32) -> Batch:
    made = batch_of(torch.arange(rows))
    return replace(made, label=torch.arange(rows) % 2)


def views(of: Batch, seed: int = 0) -> list[View]:
    return two_views(of, torch.Generator().manual_seed(seed))


def codes(method: SepCLR, of: Batch) -> dict[str, Tensor]:
    images = of.data["image"]
    assert isinstance(images, Tensor) and isinstance(method.encoder, TwoSpaces)
    return method.encoder.split(method.encoder(View(images, "image")).pooled)


def test_the_encoder_is_two_side_by_side() -> None:
    method = SepCLR(Net(), code=5)
    encoder = method.encoder
    assert isinstance(encoder, TwoSpaces)
    assert (encoder.dim, encoder.widths) == (10, [5, 5])
    common, salient = (set(map(id, part.parameters())) for part in encoder.encoders)
    assert not common & salient
    apart = codes(method, batch())
    assert list(apart) == ["common", "salient"]
    assert apart["common"].shape == apart["salient"].shape == (32, 5)
    assert TwoSpaces([Net(dim=8), Net(dim=4)]).widths == [8, 4]


def test_both_begin_with_the_weights_of_the_encoder_that_was_given() -> None:
    given = Net()
    expected = {name: value.clone() for name, value in given.state_dict().items()}
    for part in SepCLR(given, code=None).encoder.encoders:
        for name, value in part.state_dict().items():
            assert torch.equal(value, expected[name])


def test_origins_reach_the_objective() -> None:
    torch.manual_seed(0)
    method, of = SepCLR(Net(), code=5), batch()
    step = method(views(of), of)
    with torch.no_grad():
        every = method.pooled(views(of))
    pooled = [method.encoder.split(p)["salient"] for p in every]
    lengths = sum(method.projectors["salient"](code).detach().norm(dim=1) for code in pooled) / 2
    assert float(step.parts["background_norm"]) == pytest.approx(float(lengths[of.label == 0].mean()), rel=1e-4)
    assert float(step.parts["target_norm"]) == pytest.approx(float(lengths[of.label == 1].mean()), rel=1e-4)


def test_the_null_term_alone_reaches_only_the_salient_side() -> None:
    torch.manual_seed(0)
    method, of = SepCLR(Net(), code=5), batch()
    all_background = replace(of, label=torch.zeros_like(of.label))
    method.objective.salient_weight = 0.0
    method(views(of), all_background).loss.backward()
    null = [p.grad.clone() for p in method.encoder.encoders[1].parameters()]
    assert any(float(g.abs().sum()) > 0 for g in null)
    method.zero_grad()
    method.objective.null_weight = 0.0
    method(views(of), all_background).loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in method.encoder.encoders[1].parameters())
    assert any(p.grad.any() for p in method.encoder.encoders[0].parameters())


@pytest.mark.parametrize(("label", "found"), [(None, "None"), (torch.full((32,), -1), "32 unknown label")])
def test_samples_of_unknown_origin_are_refused(label: Tensor | None, found: str) -> None:
    method, of = SepCLR(Net()), replace(batch(), label=label)
    with pytest.raises(ShapeError, match=rf"SepCLR: batch.label: found {found}.*Train with --background and --target"):
        method(views(of), of)


class Graph(Net):
    transductive = True


class Held(Encoder):
    """Holds what cannot be copied."""

    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.rows = (n for n in range(3))

    def forward(self, view: View) -> Encoding:
        return Encoding(torch.zeros(1, 4))


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="SepCLR needs inductive, which Graph does not have"):
        SepCLR(Graph())
    with pytest.raises(ConfigError, match=r"encoder: found Held, which cannot be copied \(TypeError: .*generator"):
        SepCLR(Held())
    with pytest.raises(ConfigError, match=r"SepCLR: objective: found NTXent; allowed: .*common and salient"):
        SepCLR(Net(), NTXent())
    with pytest.raises(ConfigError, match=r"encoders: found 1; allowed: two: common and salient"):
        TwoSpaces([Net()])
    with pytest.raises(ConfigError, match=r"dim: found 0; allowed: a whole number from 1"):
        SepCLR(Net(), code=0)


def test_the_description_of_a_saved_encoder_holds_two() -> None:
    given = {"class_path": "x.Net", "init_args": {"dim": 8}}
    told = SepCLR.saved(given, {"code": None})
    assert told == {"class_path": "counterpoint.nn.TwoSpaces", "init_args": {"encoders": [given, given], "dim": None}}
    assert SepCLR.saved(given, {})["init_args"]["dim"] == SepCLR(Net()).code
