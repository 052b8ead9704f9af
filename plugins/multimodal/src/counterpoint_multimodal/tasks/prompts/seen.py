"""What a prompt learner is told of an image: its embedding, and statistics of its tokens after every block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.parts import Encoder
from counterpoint.types import View

EPSILON = 2.3e-8
"""Added to the variance under the root (the value of GOPro's released code)."""


@dataclass(slots=True)
class Seen:
    """Images as a frozen encoder sees them; nothing of it carries a gradient.

    Attributes:
        feature: ``(B, D)`` float32 embeddings of length 1.
        content: per layer ``(B, F)``: the mean of the tokens. Empty where they were not asked for.
        style: per layer ``(B, F)``: half the sum of the tokens' mean and standard deviation.
    """

    feature: Tensor
    content: list[Tensor]
    style: list[Tensor]

    def __len__(self) -> int:
        return self.feature.shape[0]

    def split(self, views: int) -> list[Seen]:
        """The parts of a batch that holds ``views`` views, one below the other."""
        layers = [[rows.chunk(views) for rows in kind] for kind in (self.content, self.style)]
        return [
            Seen(feature, *([rows[v] for rows in kind] for kind in layers))
            for v, feature in enumerate(self.feature.chunk(views))
        ]


def statistics(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Content and style ``(B, F)`` of tokens ``(B, N, F)``; the order of the tokens does not matter.

    Content is the mean; style is ``(mean + std) / 2``, with the standard deviation over the tokens (divisor N).
    """
    mean = tokens.mean(dim=1)
    std = (tokens.var(dim=1, correction=0) + EPSILON).sqrt()
    return mean, (mean + std) / 2


@torch.no_grad()
def look(encoder: Encoder, view: View, layers: bool) -> Seen:
    """Encode an image view.

    Args:
        encoder: with an image tower; ``layers(view)`` gives the tokens after each of its blocks.
        view: images ``(B, 3, H, W)``.
        layers: whether statistics of the blocks are wanted: they take a second pass.
    """
    feature = F.normalize(encoder(view).pooled.float(), dim=1)
    found = [statistics(tokens.float()) for tokens in encoder.layers(view)] if layers else []  # type: ignore[operator]
    return Seen(feature, [content for content, _ in found], [style for _, style in found])
