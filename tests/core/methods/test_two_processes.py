"""Two real processes under DistributedDataParallel, B/2 samples each, against one process with B.

Gradients, states and queues agree after every one of several steps. Run as a script, ``python test_two_processes.py
FOLDER``, this file is the two processes: it imports torch once and forks while it has one thread.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from counterpoint.methods import BYOL, DINO, BarlowTwins, Method, MoCo, MoCoV3, Pair, SimCLR, SwAV, VICReg
from counterpoint.nn import Predictor, Projector
from counterpoint.objectives import DCL, InfoNCE
from counterpoint.parts import Encoder, Towers
from counterpoint.types import Batch, Encoding, View

pytestmark = pytest.mark.unit

BATCH, STEPS, WIDTH = 8, 4, 6
CONTENT = torch.tensor([4, 7, 4, 1, 9, 7, 2, 4])  # duplicates within and across the halves
State = dict[str, Tensor]


class Net(Encoder):
    """Without BatchNorm, so that a row's encoding is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 7
        self.net = nn.Sequential(nn.Linear(WIDTH, 9), nn.Tanh(), nn.Linear(9, self.dim))

    def forward(self, view: View) -> Encoding:
        return Encoding(self.net(view.data).mean(1))


class Plain(Predictor):
    """A predictor without BatchNorm."""

    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim)
        self.layers = nn.Sequential(nn.Linear(in_dim, 8), nn.Tanh(), nn.Linear(8, in_dim))


PROJECTOR = partial(Projector, hidden_dim=8, out_dim=5, norm=False)


def cached(method: Method) -> Method:
    """With gradient caching, in chunks that do not divide the batch."""
    method.micro_batch = 3
    return method


CASES: dict[str, Callable[[], Method]] = {
    "SimCLR": lambda: SimCLR(Net(), projector=PROJECTOR),
    "SimCLR, DCL": lambda: SimCLR(Net(), DCL(0.3), PROJECTOR),
    "SimCLR, cached": lambda: cached(SimCLR(Net(), projector=PROJECTOR)),
    "BarlowTwins": lambda: BarlowTwins(Net(), projector=PROJECTOR),
    "VICReg": lambda: VICReg(Net(), projector=PROJECTOR),
    "MoCo": lambda: MoCo(Net(), projector=PROJECTOR, queue_size=20, momentum=0.9),
    "MoCo, one direction": lambda: MoCo(Net(), projector=PROJECTOR, queue_size=20, momentum=0.9, symmetric=False),
    "MoCo, batch and queue": lambda: MoCo(Net(), InfoNCE(0.2, symmetric=False), PROJECTOR, queue_size=20),
    "MoCoV3": lambda: MoCoV3(Net(), projector=PROJECTOR, predictor=Plain, momentum=0.9),
    "SwAV": lambda: SwAV(Net(), projector=PROJECTOR, prototypes=4, freeze_share=0.3),
    "SwAV, queue": lambda: SwAV(Net(), projector=PROJECTOR, prototypes=4, queue_size=13, freeze_share=0, queue_after=0),
    "BYOL": lambda: BYOL(Net(), projector=PROJECTOR, predictor=Plain, momentum=0.9),
    "DINO": lambda: DINO(Net(), projector=PROJECTOR, momentum=0.9),
    "Pair": lambda: Pair(Towers({"a": Net(), "b": Net()}), projector=PROJECTOR),
}
APART = [name for name in CASES if name not in ("BYOL",)]  # BYOL's samples know nothing of each other anyway


def views_of(step: int, paired: bool, share: slice) -> tuple[list[View], Batch]:
    """Two global views and, for methods of one modality, two shorter local ones."""
    draw = torch.randn(4, BATCH, 3, WIDTH, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    draw = (draw + draw[0])[:, share]
    index = torch.arange(BATCH)[share]
    batch = Batch({"a": draw[0]}, index, CONTENT[share] + step)
    names = ("a", "b") if paired else ("a", "a")
    views = [View(draw[number], name) for number, name in enumerate(names)]
    return views + ([] if paired else [View(draw[number, :, :2], "a", "local") for number in (2, 3)]), batch


def run(name: str, share: slice, wrap: Callable[[Method], nn.Module]) -> list[State]:
    """Loss, gradients and state of each step."""
    torch.manual_seed(11)
    method = CASES[name]().double()
    method.total_steps = STEPS
    module = wrap(method)
    optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.05, momentum=0.9)
    found = []
    for number in range(STEPS):
        views, batch = views_of(number, name == "Pair", share)
        step = module(views, batch)
        step.loss.backward()
        gradients = {f"grad.{n}": p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
        method.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        state = {key: value.clone() for key, value in method.state_dict().items()}
        found.append({"loss": step.loss.detach(), **gradients, **state})
    return found


def half(rank: int) -> slice:
    return slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = (folder / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.save({name: run(name, half(rank), DistributedDataParallel) for name in CASES}, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two-processes")
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_one_batch(ranks: list[dict[str, Any]], name: str) -> None:
    whole = run(name, slice(0, BATCH), lambda method: method)
    for first, second, wanted in zip(ranks[0][name], ranks[1][name], whole, strict=True):
        assert first.keys() == second.keys() == wanted.keys()
        torch.testing.assert_close(
            (first.pop("loss") + second.pop("loss")) / 2, wanted.pop("loss"), rtol=1e-9, atol=1e-12
        )
        for key, expected in wanted.items():
            assert torch.equal(first[key], second[key]), key
            torch.testing.assert_close(first[key], expected, rtol=1e-6, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")
    assert any(value.abs().max() > 1e-3 for key, value in whole[-1].items() if key.startswith("grad."))


@pytest.mark.parametrize("name", APART)
def test_halves_that_know_nothing_of_each_other_would_differ(name: str) -> None:
    whole = run(name, slice(0, BATCH), lambda method: method)
    alone = [run(name, half(rank), lambda method: method) for rank in range(2)]
    keys = [key for key in whole[-1] if key.startswith("grad.") and "encoder" in key and "weight" in key]
    assert keys
    for key in keys:
        apart = (alone[0][-1][key] + alone[1][-1][key]) / 2
        assert (apart - whole[-1][key]).abs().max() > 1e-4 * whole[-1][key].abs().max()


@pytest.mark.slow
def test_the_queues_were_in_use(ranks: list[dict[str, Any]]) -> None:
    assert int(ranks[0]["MoCo"][-1]["queue.written"]) == 2 * BATCH * STEPS
    assert int(ranks[0]["MoCo, one direction"][-1]["queue.written"]) == BATCH * STEPS
    assert int(ranks[0]["SwAV, queue"][1]["queues.0.written"]) == 2 * BATCH > 13


def both_processes(folder: Path) -> int:
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=process, args=(rank, folder)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return max(abs(child.exitcode or 0) for child in children)


if __name__ == "__main__":
    sys.exit(both_processes(Path(sys.argv[1])))
