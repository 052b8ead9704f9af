"""The signed uniform noise of SimGCL and XSimGCL."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["signed_noise"]


def signed_noise(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """``x + Δ`` with ``Δ = eps * u / |u| * sign(x)``, ``u ~ U(0, 1)^D`` for each row; the gradient in ``x`` is 1.

    So ``|Δ| = eps`` in a row without a zero, and no entry changes its sign; a zero stays zero.

    Args:
        x: ``(n, D)``.
        eps: length of each row's noise, at least 0; at 0 nothing is drawn and ``x`` itself is returned.
        generator: of the CPU; the noise is a function of it.

    Source: Yu et al. 2022 (arXiv 2112.08679), eq. 8.
    """
    if eps == 0:
        return x
    with torch.no_grad():
        noise = torch.rand(x.shape, dtype=x.dtype, generator=generator).to(x.device)
        noise = F.normalize(noise, dim=-1).mul_(x.sign()).mul_(eps)
    return x + noise
