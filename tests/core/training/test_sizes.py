"""Three sizes with three names; what a step keeps is measured, and gradient caching switches itself on by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import toy
from counterpoint.errors import DataError
from counterpoint.methods import BYOL, MoCo, SimCLR
from counterpoint.methods.finetune import Classify
from counterpoint.objectives import DCL, InfoNCE
from counterpoint.parts import Encoder
from counterpoint.training import sizes
from counterpoint.training.pretrain import pretrain
from counterpoint.training.sizes import (
    Sizes,
    activation_bytes,
    candidates,
    choose_micro_batch,
    free_memory,
    measure_sizes,
    parameter_bytes,
)
from counterpoint.types import Encoding, View

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


def views(rows: int = 2, number: int = 2) -> list[View]:
    return [View(torch.randn(rows, 8, 8), "digit") for _ in range(number)]


def by_hand(number: int = 2, width: int = 32) -> int:
    """Floats that DigitNet keeps for the backward pass of one sample: inputs and outputs of its layers."""
    image, first, second = 8 * 8, 16 * 8 * 8, width * 4 * 4
    return 4 * number * (image + first + second)


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_what_is_kept_is_what_a_hand_counts(rows: int, number: int) -> None:
    found = activation_bytes(toy.DigitNet(), views(rows, number))
    assert by_hand(number) / 2 <= found <= 2 * by_hand(number)


class Attention(Encoder):
    """One linear map cut in three: the pieces share their memory."""

    dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.joint = nn.Linear(16, 48)

    def forward(self, view: View) -> Encoding:
        query, key, value = self.joint(view.data).chunk(3, dim=1)
        return Encoding((query * key).sigmoid() * value)


def test_memory_that_is_shared_counts_once() -> None:
    found = activation_bytes(Attention(), [View(torch.randn(64, 16), "row")])
    exact = 4 * (16 + 48 + 16 + 16)  # input, the joint map, the product's sigmoid (kept for itself and for the product)
    assert exact / 2 <= found <= exact


def test_weights_are_no_activations() -> None:
    wide = toy.DigitNet(width=32)
    wide.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
    assert activation_bytes(wide, views(1)) < 4 * by_hand()
    assert parameter_bytes(wide) == 4 * 4 * sum(p.numel() for p in wide.parameters())
    wide.conv1.requires_grad_(False)
    frozen = sum(p.numel() for p in wide.conv1.parameters())
    assert parameter_bytes(wide) == 4 * (4 * sum(p.numel() for p in wide.parameters()) - 3 * frozen)


class Normed(Encoder):
    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm1d(4), nn.BatchNorm1d(4).eval()
        self.dropout = nn.Dropout(0.5)

    def forward(self, view: View) -> Encoding:
        return Encoding(self.dropout(self.frozen(self.norm(view.data))))


def test_measuring_leaves_no_trace() -> None:
    encoder = Normed()
    encoder.norm.train()
    encoder.frozen.eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    state = torch.get_rng_state()
    activation_bytes(encoder, [View(torch.randn(4, 4), "row") for _ in range(2)])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    activation_bytes(encoder, [View(torch.ones(4, 4), "row")])
    assert torch.equal(torch.get_rng_state(), state)
    assert (encoder.norm.training, encoder.frozen.training, encoder.training) == (True, False, True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize(
    ("wanted", "per_rank", "activation", "free", "chosen"),
    [
        (None, 256, 1000, 10**9, None),  # all of it fits
        (None, 256, 1000, 2 * 256 * 1000, None),  # just so
        (None, 256, 1000, 2 * 255 * 1000, 128),  # just not: the largest power of two
        (None, 256, 1000, 2 * 100 * 1000, 64),
        (None, 256, 1000, 0, 1),  # one at a time is the least
        (None, 256, 0, 10**9, None),
        (64, 256, 1000, 0, 64),  # as wanted, whatever the memory
        (48, 256, 0, 10**9, 48),
        (256, 256, 1000, 0, None),  # the whole batch is no micro-batch, and a resumed run keeps to that
        (512, 256, 1000, 0, None),
    ],
)
def test_choice(wanted: int | None, per_rank: int, activation: int, free: int, chosen: int | None) -> None:
    assert choose_micro_batch(wanted, per_rank, activation, free) == chosen


def test_free_memory_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_memory(CPU)
    assert 2**20 < free < 2**50
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    assert 2**20 < free_memory(CPU) < 2**50, "where there is no /proc"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda e: SimCLR(e), 2 * 32 - 1),
        (lambda e: SimCLR(e, objective=DCL(temperature=0.1)), 2 * 32 - 2),
        (lambda e: SimCLR(e, objective=InfoNCE(temperature=0.1)), 32),
        (lambda e: MoCo(e, queue_size=100), 101),
        (lambda e: BYOL(e), None),
    ],
)
def test_candidates_in_the_denominator(make: object, expected: int | None) -> None:
    assert candidates(make(toy.DigitNet()), samples=32, views=2) == expected  # type: ignore[operator]


def measured(dataset: toy.Digits, **changes: object) -> Sizes:
    asked = {"per_rank": 16, "ranks": 2, "micro_batch": None, "device": CPU} | changes
    return measure_sizes(SimCLR(toy.DigitNet()), toy.NoisyShifts(), dataset, np.arange(len(dataset)), **asked)  # type: ignore[arg-type]


def test_measured_on_sound_samples_only() -> None:
    whole, holes = measured(toy.Digits("digits", count=40)), measured(toy.Digits("digits", count=40, damaged=2))
    assert (whole.samples, whole.views, whole.candidates, whole.micro_batch) == (32, 2, 63, None)
    assert whole.activation == pytest.approx(holes.activation, rel=0.01)
    with pytest.raises(DataError, match=r"None of the 40 training samples can be read. The first: digit-0"):
        measured(toy.Digits("digits", count=40, damaged=1))


def test_views_that_are_not_learnt_from_do_not_count() -> None:
    dataset = toy.Digits("digits", count=40)
    asked: dict[str, Any] = {"per_rank": 16, "ranks": 1, "micro_batch": None, "device": CPU}
    one, two = (
        measure_sizes(Classify(toy.DigitNet(), views=views), toy.NoisyShifts(), dataset, np.arange(40), **asked)
        for views in (1, 2)
    )
    assert (one.views, two.views) == (1, 2)
    assert one.activation == pytest.approx(two.activation / 2, rel=0.05)


def test_processes_share_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = toy.Digits("digits", count=40)
    each = 2 * 16 * measured(dataset).activation
    monkeypatch.setattr(sizes, "free_memory", lambda _: each)
    assert measured(dataset, ranks=1).micro_batch is None
    assert measured(dataset, ranks=2).micro_batch == 8


def test_the_line_has_the_three_names() -> None:
    line = Sizes(512, 64, 1023, 2, 2**20, 2**21, 2**30).describe(per_rank=256)
    assert line == (
        "samples per step 512, micro-batch 64 (gradient caching: the same gradients as in one piece), "
        "candidates per anchor 1023, views per sample 2; about 66 MiB of 1024 MiB free"
    )
    line = Sizes(512, None, None, 2, 2**20, 2**21, 2**30).describe(per_rank=256)
    assert line == "samples per step 512, micro-batch 256, views per sample 2; about 258 MiB of 1024 MiB free"


def test_little_memory_switches_caching_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By itself, said, written down, and with the same weights at the end."""
    toy.install(monkeypatch)
    seen: list[int] = []
    forward = toy.DigitNet.forward

    def counted(self: toy.DigitNet, view: View) -> Encoding:
        if self.training and torch.is_grad_enabled():
            seen.append(len(view.data))
        return forward(self, view)

    monkeypatch.setattr(toy.DigitNet, "forward", counted)
    settings = {"dataset": {"count": 80}, "max_steps": 2, "batch_size": 32, "tensorboard": False, "progress": False}
    settings |= {"optimization": {"name": "sgd"}, "method": {"projector": "Projector"}}
    weights: list[Tensor] = []
    for name, free in (("plenty", 2**40), ("little", 20 * 2 * by_hand())):
        monkeypatch.setattr(sizes, "free_memory", lambda _, free=free: free)
        seen.clear()
        run = pretrain("toy/simclr", out=tmp_path / name, **settings)
        weights.append(run.encoder.conv2.weight)
        said = capsys.readouterr().out
        assert ("gradient caching" in said) == (name == "little")
        assert run.config["micro_batch"] == (32 if name == "plenty" else 16)
        assert max(seen) == 2 * run.config["micro_batch"], "two views of each sample"
    assert torch.allclose(weights[0], weights[1], atol=1e-6)
