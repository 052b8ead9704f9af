"""Pairs of modalities against open_clip: gradients over two processes, the input pipeline, and a training step.

How long the losses take and how much memory, beside open_clip's, is in test_losses.
"""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import measure
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.objectives import InfoNCE, Sigmoid

pytestmark = pytest.mark.bench

SMOKE = measure.smoke()
ROWS, DIM, T, BIAS = 8 if SMOKE else 64, 32, 0.1, -10.0
RANKS = 2
RESULTS: dict[str, object] = {}


def save(name: str, found: dict[str, object]) -> None:
    """Put one table into pairs.json, beside those that ran before it."""
    RESULTS[name] = found
    measure.write("pairs", RESULTS)


def losses(rank: int = 0, ranks: int = 1) -> dict[str, dict[str, Any]]:
    """Loss -> whose -> call with the embeddings of this rank's rows."""
    softmax, sigmoid = InfoNCE(T), Sigmoid(T, BIAS, learnable_temperature=False, learnable_bias=False)
    found: dict[str, dict[str, Any]] = {
        "softmax": {"ours": lambda a, b: softmax([a, b]).loss},
        "sigmoid": {"ours": lambda a, b: sigmoid([a, b]).loss},
    }
    if importlib.util.find_spec("open_clip"):
        from open_clip.loss import ClipLoss, SigLipLoss

        scale, bias = torch.tensor(1 / T), torch.tensor(BIAS)
        place = {"rank": rank, "world_size": ranks}
        clips = {
            "open_clip, as it comes": ClipLoss(**place),
            "open_clip, gather_with_grad": ClipLoss(gather_with_grad=True, **place),
            "open_clip, local_loss and gather_with_grad": ClipLoss(local_loss=True, gather_with_grad=True, **place),
        }
        siglip = SigLipLoss(**place)
        for name, clip in clips.items():
            found["softmax"][name] = lambda a, b, clip=clip: clip(F.normalize(a), F.normalize(b), scale)
        found["sigmoid"]["open_clip, as it comes"] = lambda a, b: siglip(F.normalize(a), F.normalize(b), scale, bias)
    return found


def towers() -> tuple[nn.Module, Tensor]:
    """One linear map for each side, and inputs of all ranks."""
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)]), torch.randn(2, ROWS, DIM)


def gradient(call: Any, rows: slice, average: bool) -> Tensor:
    """All gradients of the two maps in one vector; over processes averaged, as DDP does."""
    module, inputs = towers()
    call(*(tower(x[rows]) for tower, x in zip(module, inputs))).backward()
    flat = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    if average:
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
    return flat


def one_rank(rank: int, folder: str) -> None:
    """What one of the processes does: its rows of the batch, by every loss."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meet", rank=rank, world_size=RANKS, timeout=timedelta(seconds=120)
    )
    rows = slice(rank * ROWS // RANKS, (rank + 1) * ROWS // RANKS)
    found = {
        name: {whose: gradient(call, rows, average=True).tolist() for whose, call in calls.items()}
        for name, calls in losses(rank, RANKS).items()
    }
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=RANKS)
    two = json.loads((tmp_path / "found.json").read_text())
    for name, calls in losses().items():
        whole = gradient(calls["ours"], slice(None), average=False)
        errors, lengths = {}, {}
        for whose, values in two[name].items():
            found = torch.tensor(values)
            errors[whose] = float((found - whole).norm() / whole.norm())
            lengths[whose] = round(float(found.norm() / whole.norm()), 4)
        print(f"\n{name}: error {errors}, length {lengths}")
        told = {case: float(f"{value:.2g}") for case, value in errors.items()}
        save(f"{name}, two processes", {"relative error of the gradient": told, "times its length": lengths})
        assert errors["ours"] < 1e-5
