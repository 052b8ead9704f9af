"""Gradient caching under methods: a micro-batch changes the memory, not the gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from counterpoint.methods import BYOL, DINO, BarlowTwins, Method, MoCo, Pair, SimCLR, SwAV
from counterpoint.nn import Projector
from counterpoint.parts import Encoder, Towers
from counterpoint.types import Batch, Encoding, View

pytestmark = pytest.mark.unit

ROWS = 7
HEAD = partial(Projector, hidden_dim=8, out_dim=5)  # the head sees the whole batch, so it may have BatchNorm


class Net(Encoder):
    """Tokens, and a note of how many rows came at once."""

    capabilities = frozenset({"tokens"})

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.seen = 6, []
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))

    def forward(self, view: View) -> Encoding:
        self.seen.append(len(view.data))
        tokens = self.net(view.data)
        return Encoding(tokens.mean(1), tokens)


METHODS: dict[str, Callable[[], Method]] = {
    "simclr": lambda: SimCLR(Net(), projector=HEAD),
    "moco": lambda: MoCo(Net(), projector=HEAD, queue_size=16),
    "swav": lambda: SwAV(Net(), projector=HEAD, prototypes=4, queue_size=7, queue_after=0, freeze_share=0),
    "byol": lambda: BYOL(Net(), projector=HEAD),
    "barlowtwins": lambda: BarlowTwins(Net(), projector=HEAD),
    "dino": lambda: DINO(Net()),
    "pair": lambda: Pair(Towers({"x": Net(), "y": Net()})),
}


def material(name: str, seed: int) -> tuple[list[View], Batch]:
    draw = torch.randn(4, ROWS, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    views = [View(draw[0], "x"), View(draw[0] + draw[1], "y" if name == "pair" else "x")]
    if name in ("swav", "dino"):
        views += [View(draw[n, :, :2], "x", "local") for n in (2, 3)]
    return views, Batch({"x": draw[0]}, torch.arange(ROWS), torch.arange(ROWS))


def run(name: str, micro_batch: int | None) -> tuple[Method, list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    method = METHODS[name]().double()
    method.micro_batch, method.total_steps = micro_batch, 4
    optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.1)
    found = []
    for seed in range(3):
        step = method(*material(name, seed))
        step.loss.backward()
        found.append({n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None})
        found[-1]["loss"] = step.loss.detach()
        method.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
    return method, found


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("micro_batch", [2, 4])
def test_a_micro_batch_changes_no_gradient(name: str, micro_batch: int) -> None:
    plain, wanted = run(name, None)
    cached, found = run(name, micro_batch)
    for a, b in zip(found, wanted, strict=True):
        assert a.keys() == b.keys()
        for key, value in b.items():
            torch.testing.assert_close(a[key], value, rtol=1e-9, atol=1e-12, msg=lambda m, key=key: f"{key}: {m}")
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(cached.state_dict()[key], value, rtol=1e-9, atol=1e-12)


def test_a_micro_batch_counts_samples_with_all_views_of_a_kind() -> None:
    method, _ = run("simclr", 2)
    assert max(method.encoder.seen) == 4
    twin, _ = run("moco", 2)
    assert max(twin.twin.module["encoder"].seen) == 4  # the twin, which keeps no activations, is cut as well
    whole, _ = run("simclr", ROWS)
    assert whole.encoder.seen == [2 * ROWS] * 3


def test_tokens_that_nobody_reads_are_not_kept() -> None:
    torch.manual_seed(0)
    method = SimCLR(Net())
    method.micro_batch = 2
    views = [View(view.data.float(), "x") for view in material("simclr", 0)[0]]
    assert all(encoding.tokens is None for encoding in method.encode(views, pooled_only=True))
    assert [tuple(encoding.tokens.shape) for encoding in method.encode(views)] == [(ROWS, 3, 6)] * 2
