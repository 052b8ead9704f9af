"""The three sizes, by their three names: samples per step, micro-batch through the encoder, candidates per anchor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from counterpoint.parts import Encoder
from counterpoint.types import View

SHARE = 0.5  # of the free memory that activations may take: gradients, optimiser state and data need room too
PROBE = 2  # samples in the probe


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a step costs.

    Attributes:
        samples: per optimiser step, over all processes.
        micro_batch: samples through the encoder at once, or None for all.
        activation: bytes that one sample's views keep for the backward pass.
        parameters: bytes of weights, gradients and optimiser state.
        free: bytes of memory free on the device when asked.
    """

    samples: int
    micro_batch: int | None
    activation: int
    parameters: int
    free: int

    def describe(self, per_rank: int, views: int) -> str:
        """One line for the start of a run."""
        through = self.micro_batch or per_rank
        memory = (through * self.activation + self.parameters) / 2**20
        cached = " (gradient caching: the same gradients as in one piece)" if self.micro_batch else ""
        return (
            f"samples per step {self.samples}, micro-batch {through}{cached}, "
            f"views per sample {views}; about {memory:.0f} MiB of {self.free / 2**20:.0f} MiB free"
        )


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
    own = {p.data_ptr() for p in encoder.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    training = encoder.training
    encoder.eval()  # batch statistics must not move
    with torch.random.fork_rng(), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        hold = [encoder(view).pooled for view in views]  # kept alive, or freed memory would be counted twice
    encoder.train(training)
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
