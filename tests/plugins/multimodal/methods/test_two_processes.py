"""Two real processes with half a batch each are one process with the whole: loss and gradients of CLIP-rocket.

Run as a script, ``python test_two_processes.py FOLDER``, this file is the two processes.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from counterpoint_multimodal.methods import Rocket
from tinytowers import TinyTowers, batch, views

pytestmark = [pytest.mark.unit, pytest.mark.slow]

ROWS = 8
CASES: dict[str, dict[str, Any]] = {
    "smoothed labels": {"smoothing": 0.1},
    "swalip": {"smoothing": 0.0, "extra": "swalip"},
    "swalipv1": {"extra": "swalipv1", "extra_options": {"hidden_dim": 8, "out_dim": 5, "prototypes": 6}},
}


def run(part: slice) -> dict[str, dict[str, Tensor]]:
    """Of each case the loss of these rows, and the gradients."""
    found = {}
    for name, options in CASES.items():
        torch.manual_seed(0)
        method = Rocket(TinyTowers(local_heads=True), **options).double()
        for module in () if method.extra is None else method.extra.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()  # on CPUs the batch statistics are each process's own
        whole, seen = batch(ROWS, torch.arange(ROWS) // 2), views(2, ROWS)
        for view in seen:
            view.data = view.data.double()[part]
        own = batch(len(whole.index[part]), whole.content[part])
        loss = method(seen, own).loss
        loss.backward()
        gradients = {key: p.grad for key, p in method.named_parameters() if p.grad is not None}
        found[name] = {"loss": loss.detach(), **gradients}
    return found


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    torch.save(run(slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_the_mean_over_processes_is_the_whole_batch(tmp_path: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, __file__, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env)
    assert done.returncode == 0, done.stderr
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    alone = [run(slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)) for rank in (0, 1)]
    for name, whole in run(slice(0, ROWS)).items():
        for key, wanted in whole.items():
            torch.testing.assert_close((halves[0][name][key] + halves[1][name][key]) / 2, wanted, msg=f"{name}: {key}")
        apart = (alone[0][name]["loss"] + alone[1][name]["loss"]) / 2
        assert (apart - whole["loss"]).abs() > 0.01  # halves that know nothing of each other would differ


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=process, args=(rank, Path(sys.argv[1]))) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(max(abs(worker.exitcode or 0) for worker in workers))
