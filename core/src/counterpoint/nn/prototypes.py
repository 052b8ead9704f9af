"""SwAV's prototypes: unit vectors that embeddings are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, message


class Prototypes(nn.Module):
    """``count`` prototypes; scores are cosines in [-1, 1].

    The method calls `normalise` before every forward pass of a training step, as the released code does, except while
    they are frozen: then they do not change at all, not even by rounding.

    Args:
        dim: width of the embeddings.
        count: K (paper: 3000; small data: 3-10 times the expected number of classes).

    Source: Caron et al. 2020 (arXiv 2006.09882), section 3.1 and released code.
    """

    def __init__(self, dim: int, count: int = 64) -> None:
        super().__init__()
        if count < 2:
            raise ConfigError(message("Prototypes.count", count, "a whole number from 2"))
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring the rows back to length 1."""
        self.weight.copy_(F.normalize(self.weight, dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings ``(B, dim)`` -> scores ``(B, count)``."""
        return F.linear(embeddings, self.weight)
