"""The signed uniform noise of SimGCL and XSimGCL."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from counterpoint.errors import ConfigError, message

__all__ = ["signed_noise"]

ROWS = 4096
"""Rows at a time: what is computed between drawing and adding then stays in the cache."""


def signed_noise(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """``x + Δ`` with ``Δ = eps * u / |u| * sign(x)``, ``u ~ U(0, 1)^D`` for each row; the gradient in ``x`` is 1.

    So ``|Δ| = eps`` in a row without a zero, no entry changes its sign, and a zero stays zero. On a CPU ``u`` has
    16 bits (the middles of 65,536 equal intervals), four from each 64-bit draw, at a third of the time of
    ``torch.rand``; on another device it is drawn there, by a generator seeded with a draw from this one.

    Args:
        x: ``(n, D)`` of a floating type.
        eps: length of each row's noise, at least 0; at 0 nothing is drawn and ``x`` itself is returned.
        generator: of the CPU; the noise is a function of it.

    Raises:
        ConfigError: a negative ``eps``.

    Source: Yu et al. 2022 (arXiv 2112.08679), eq. 8.
    """
    if not eps >= 0:
        raise ConfigError(message("eps", eps, "at least 0"))
    if eps == 0:
        return x
    noisy: Tensor = _Noise.apply(x, eps, generator)
    return noisy


class _Noise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        if x.device.type != "cpu":
            return x + F.normalize(_elsewhere(x, generator), dim=-1).mul_(x.sign()).mul_(eps)
        noisy = torch.empty_like(x, memory_format=torch.contiguous_format)
        for rows, out in zip(torch.split(x, ROWS), torch.split(noisy, ROWS), strict=True):
            noise = _uniform(rows, generator)
            length = torch.linalg.vector_norm(noise, dim=1, keepdim=True)
            torch.addcmul(rows, noise.mul_(rows.sign()), length.reciprocal_().mul_(eps), out=out)
        return noisy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """``(n, D)`` uniform in (0, 65536), never 0; its length does not matter here."""
    wide = torch.empty((like.numel() + 3) // 4, dtype=torch.int64)
    bits = wide.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()]
    return bits.view(like.shape).to(like.dtype).add_(2**15 + 0.5)


def _elsewhere(like: Tensor, generator: torch.Generator) -> Tensor:
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(like.device).manual_seed(seed)
    return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=there)
