"""The three sizes, by their three names: samples per step, micro-batch through the encoder, candidates per anchor."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.errors import DataError
from counterpoint.methods.base import Method
from counterpoint.objectives import DCL, InfoNCE, NTXent, SupCon
from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.training.measures import undisturbed
from counterpoint.types import Batch, View

SHARE = 0.5  # of the free memory that activations may take: gradients, optimiser state and data need room too
PROBE = 2  # samples in the probe: at 224 px a large network keeps 100 MiB for each
LOOKED = 16  # samples read at once in search of sound ones


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a step costs.

    Attributes:
        samples: per optimiser step, over all processes.
        micro_batch: samples through the encoder at once, or None for all.
        candidates: in the denominator, for one anchor; None where the objective has no such number.
        views: of each sample.
        activation: bytes that one sample's views keep for the backward pass.
        parameters: bytes of weights, gradients and optimiser state.
        free: bytes of memory free on the device when asked.
    """

    samples: int
    micro_batch: int | None
    candidates: int | None
    views: int
    activation: int
    parameters: int
    free: int

    def describe(self, per_rank: int) -> str:
        """One line for the start of a run."""
        through = self.micro_batch or per_rank
        memory = (through * self.activation + self.parameters) / 2**20
        cached = " (gradient caching: the same gradients as in one piece)" if self.micro_batch else ""
        candidates = f"candidates per anchor {self.candidates}, " if self.candidates else ""
        return (
            f"samples per step {self.samples}, micro-batch {through}{cached}, {candidates}"
            f"views per sample {self.views}; about {memory:.0f} MiB of {self.free / 2**20:.0f} MiB free"
        )


def measure_sizes(
    method: Method,
    views: Views,
    dataset: Dataset,
    indices: np.ndarray,
    *,
    per_rank: int,
    ranks: int,
    micro_batch: int | None,
    device: torch.device,
) -> Sizes:
    """Measure what a step needs and choose the micro-batch.

    Args:
        method: before training, on the CPU.
        views: of the training.
        dataset: samples.
        indices: training positions; the first sound ones are the probe.
        per_rank: samples per step on one process.
        ranks: processes.
        micro_batch: as wanted, or None to choose.
        device: where the training will run.

    Raises:
        DataError: no sample at all can be read.
        ShapeError: fewer views than the method learns from.
    """
    made = views(_probe(dataset, indices), torch.Generator().manual_seed(0))
    method.check_views(made)
    made = method.used(made)
    activation = activation_bytes(method.encoder, made)
    free = free_memory(device)
    share = free if device.type == "cuda" else free // ranks  # processes on one machine share its memory
    if method.encoder.transductive:
        activation, chosen = activation * PROBE // per_rank, None  # a pass over all nodes, shared by the batch's rows
    else:
        chosen = choose_micro_batch(micro_batch, per_rank, activation, share)
    samples = per_rank * ranks
    parameters = parameter_bytes(method)
    return Sizes(samples, chosen, candidates(method, samples, len(made)), len(made), activation, parameters, free)


def _probe(dataset: Dataset, indices: np.ndarray) -> Batch:
    for start in range(0, len(indices), LOOKED):
        sound = dataset.batch(indices[start : start + LOOKED].tolist()).index[:PROBE]
        if len(sound):
            return dataset.batch(sound.tolist())
    raise DataError(
        f"None of the {len(indices)} training samples can be read. The first: {dataset.name(int(indices[0]))}"
    )


def candidates(method: Method, samples: int, views: int) -> int | None:
    """Rows in the denominator of one anchor, its positive among them; None where there is no such number."""
    objective, queue = getattr(method, "objective", None), getattr(method, "queue", None)
    if views != 2 or not isinstance(objective, (InfoNCE, NTXent, DCL, SupCon)):
        return None
    chance = objective.chance(samples)  # log of the candidates in the batch
    return (round(math.exp(chance)) if chance is not None else 0) + (0 if queue is None else queue.size)


def free_memory(device: torch.device) -> int:
    """Bytes free on ``device`` (for the CPU: what the system can give without swapping)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def activation_bytes(encoder: Encoder, views: Sequence[View]) -> int:
    """Bytes that autograd keeps for one sample's ``views`` (measured on a tiny batch, leaving no trace)."""
    own = {t.untyped_storage().data_ptr() for t in (*encoder.parameters(), *encoder.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # several saved tensors may look at one piece of memory
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # In eval mode, so that batch statistics do not move.
    with undisturbed(encoder), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        hold = [encoder(view).pooled for view in views]  # kept alive, or freed memory would be counted twice
    rows: int = max(1, hold[0].shape[0])
    return sum(kept.values()) // rows


def parameter_bytes(module: nn.Module) -> int:
    """Weights, plus gradients and two moments for those that train."""
    return sum(p.numel() * p.element_size() * (4 if p.requires_grad else 1) for p in module.parameters())


def choose_micro_batch(wanted: int | None, per_rank: int, activation: int, free: int) -> int | None:
    """Samples through the encoder at once: as wanted, else the largest power of two that fits; None for all at once."""
    if wanted is not None:
        return None if wanted >= per_rank else wanted
    fits = int(SHARE * free) // max(1, activation)
    if fits >= per_rank:
        return None
    return 1 << max(0, max(1, fits).bit_length() - 1)
