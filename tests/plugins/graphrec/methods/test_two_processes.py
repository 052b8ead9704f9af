"""Two real processes with half a batch each contrast the nodes of the whole batch: value and gradient.

Run as a script, ``python test_two_processes.py FOLDER``, this file is the two processes.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from clicks import clicks
from counterpoint_graphrec.methods import XSimGCL
from recommending import made

pytestmark = pytest.mark.unit


def contrast(folder: Path, part: slice) -> dict[str, Tensor]:
    """Loss of the contrast over the interactions ``part``, and its gradient by the table."""
    data = clicks(folder)
    pairs = torch.from_numpy(data.pairs_of("train"))
    users, items = pairs[: len(pairs) // 2 * 2].T
    method = made(XSimGCL, data, eps=0.0)
    shares = users.view(2, -1)[part].flatten(), items.view(2, -1)[part].flatten()
    asked = method._ask(*shares, torch.Generator().manual_seed(0))
    found = method.passes(asked, torch.Generator()).contrast
    found.loss.backward()
    return {"loss": found.loss.detach(), "grad": method.encoder.table.grad, "sets": torch.tensor(asked.totals)}


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    own = folder / f"rank{rank}"
    own.mkdir()
    torch.save(contrast(own, slice(rank, rank + 1)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_the_mean_over_processes_is_the_whole_batch(tmp_path: Path) -> None:
    whole = contrast(tmp_path, slice(0, 2))
    assert all(int(size) % 2 == 0 for size in whole["sets"])  # else a node would be in nobody's share
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(half["sets"], whole["sets"]) for half in halves)
    for name in ("loss", "grad"):
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, whole[name])


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=process, args=(rank, Path(sys.argv[1]))) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(max(abs(worker.exitcode or 0) for worker in workers))
