"""SwAV's prototypes: unit vectors that embeddings are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, message


class Prototypes(nn.Module):
    """``count`` prototypes; scores are cosines in [-1, 1].

    Call `normalise` before the forward passes of every training step (not between them: it writes in place), and
    `freeze` after the backward pass as long as they are to stand still: an optimiser passes over a parameter without
    gradient, so neither weight decay nor momentum moves it.

    Args:
        dim: width of the embeddings.
        count: K (paper: 3000; small data: 3-10 times the expected number of classes).

    Raises:
        ConfigError: fewer than 2 prototypes.

    Source: Caron et al. 2020 (arXiv 2006.09882), section 3.1 and released code.
    """

    def __init__(self, dim: int, count: int = 64) -> None:
        super().__init__()
        if dim < 1:
            raise ConfigError(message("Prototypes.dim", dim, "a whole number from 1"))
        if count < 2:
            raise ConfigError(message("Prototypes.count", count, "a whole number from 2"))
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring the rows back to length 1."""
        self.weight.copy_(F.normalize(self.weight, dim=1))

    def freeze(self) -> None:
        """Drop this step's gradient."""
        self.weight.grad = None

    def forward(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings ``(B, dim)`` -> scores ``(B, count)``."""
        return F.linear(embeddings, self.weight)
