"""A tiny decoder of visual tokens: asked what is there, it names classes; asked where a class is, it draws a box."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Layer(nn.Module):
    """Questions look at the tokens, each for itself: attention and a two-layer network, each beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.hidden, self.back = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, questions: Tensor, tokens: Tensor) -> Tensor:
        found, _ = self.attention(self.norm1(questions), tokens, tokens, need_weights=False)
        questions = questions + found
        update: Tensor = self.back(F.gelu(self.hidden(self.norm2(questions))))
        return questions + update


class Decoder(nn.Module):
    """Visual tokens and questions -> classes and boxes. Questions never see each other, so none gives away another.

    Args:
        count: tokens of a picture.
        dim: their width.
        classes: how many there are.
        width: of the decoder.
        layers: of it.
        heads: attention heads.
    """

    def __init__(self, count: int, dim: int, classes: int, width: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.tokens, self.norm = nn.Linear(dim, width), nn.LayerNorm(width)
        self.place = nn.Parameter(torch.randn(count, width))  # as long as the normed tokens: places are found at once
        self.what = nn.Parameter(0.02 * torch.randn(width))
        self.where = nn.Embedding(classes, width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.end = nn.LayerNorm(width)
        self.classes = nn.Linear(width, classes)
        self.box = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, tokens: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, dim)`` and classes to find ``(B, O)`` -> logits ``(B, classes)``, boxes ``(B, O, 4)``.

        Boxes are left, top, right, bottom in shares of the picture; one of -1 is answered as class 0 would be.
        """
        seen = self.norm(self.tokens(tokens)) + self.place
        asked = torch.cat([self.what.expand(len(tokens), 1, -1), self.where(named.clamp(min=0))], 1)
        for layer in self.layers:
            asked = layer(asked, seen)
        asked = self.end(asked)
        centre, size = self.box(asked[:, 1:]).sigmoid().chunk(2, -1)
        return self.classes(asked[:, 0]), torch.cat([centre - size / 2, centre + size / 2], -1)


def overlap(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes ``(..., 4)``, and its generalised form (Rezatofighi et al. 2019), -1 to 1."""
    low, high = torch.maximum(one[..., :2], two[..., :2]), torch.minimum(one[..., 2:], two[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    both = (one[..., 2:] - one[..., :2]).prod(-1) + (two[..., 2:] - two[..., :2]).prod(-1) - shared
    low, high = torch.minimum(one[..., :2], two[..., :2]), torch.maximum(one[..., 2:], two[..., 2:])
    around = (high - low).prod(-1)
    iou = shared / both.clamp(min=1e-9)
    return iou, iou - (around - both) / around.clamp(min=1e-9)
