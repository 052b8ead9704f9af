"""Two towers of a layer each, with features before the projection and, if wanted, heads for local views; and views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, View

IN, FEATURES, DIM = 5, {"image": 7, "text": 6}, 4


class TinyTowers(Encoder):
    """Vectors in place of pictures and texts.

    Args:
        local_heads: encode views of role "local" by heads of their own.
        norm: batch norm after the first layer.
    """

    capabilities = frozenset({"modalities"})

    def __init__(self, local_heads: bool = False, norm: bool = False) -> None:
        super().__init__()
        self.dims, self.dim, self.feature_dims = dict.fromkeys(FEATURES, DIM), DIM, dict(FEATURES)
        self.trunks = nn.ModuleDict({name: _trunk(width, norm) for name, width in FEATURES.items()})
        self.heads = nn.ModuleDict({name: nn.Linear(width, DIM, bias=False) for name, width in FEATURES.items()})
        made = {name: nn.Linear(width, DIM) for name, width in FEATURES.items()} if local_heads else {}
        self.local = nn.ModuleDict(made)

    def forward(self, view: View) -> Encoding:
        features = self.trunks[view.modality](view.data)
        heads = self.local if view.role == "local" and self.local else self.heads
        return Encoding(heads[view.modality](features), features=features)


def _trunk(width: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(nn.Linear(IN, width), nn.BatchNorm1d(width) if norm else nn.Identity(), nn.Tanh())


def views(strong: int = 0, rows: int = 6, seed: int = 0, texts: int | None = None, alike: bool = False) -> list[View]:
    """A weak view of each modality, then strong ones, as `RocketViews` orders them; ``alike``: copies of the weak."""
    generator = torch.Generator().manual_seed(seed)
    weak = {name: torch.randn(rows, IN, generator=generator) for name in FEATURES}
    made = [View(data, name) for name, data in weak.items()]
    for name, number in (("image", strong), ("text", strong if texts is None else texts)):
        for _ in range(number):
            noise = 0.0 if alike else 0.3 * torch.randn(rows, IN, generator=generator)
            made.append(View(weak[name] + noise, name, "local"))
    return made


def batch(rows: int = 6, content: Tensor | None = None) -> Batch:
    """The batch that `views` are of; content ids differ by default."""
    index = torch.arange(rows)
    return Batch({}, index, index if content is None else content)


def swapped(made: list[View]) -> list[View]:
    """The texts' views before the images'."""
    return sorted(made, key=lambda view: (view.role, view.modality == "image"))
