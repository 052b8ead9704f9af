"""A vision transformer small enough for CPUs."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View
from counterpoint_vision.encoders._input import pixels, positive


class _Block(nn.Module):
    """Attention and a two-layer network, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.hidden = nn.Linear(dim, 4 * dim)
        self.back = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        update: Tensor = self.back(functional.gelu(self.hidden(self.norm2(x))))
        return x + update


class TinyViT(Encoder):
    """A vision transformer (Dosovitskiy et al. 2021) for 32-64 px: patches of 4, mean pooling, no class token.

    Positions are learnt for images of ``size`` and interpolated (bicubic) for others, so that global and local crops
    go through one network. A border narrower than a patch is left out: 18 px are seen as 16.

    Args:
        size: side in pixels of the images that the positions are made for.
        patch: side in pixels of a patch.
        dim: width; a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads.
        channels: channels of the images.

    Raises:
        ConfigError: a setting below 1, ``dim`` not a multiple of ``heads``, or ``size`` not of ``patch``.
    """

    capabilities = frozenset({"tokens", "dense"})

    def __init__(
        self, size: int = 32, patch: int = 4, dim: int = 96, depth: int = 4, heads: int = 3, channels: int = 3
    ) -> None:
        super().__init__()
        positive(size=size, patch=patch, dim=dim, depth=depth, heads=heads, channels=channels)
        if dim % heads:
            raise ConfigError(message("dim", dim, f"multiples of heads={heads}"))
        if size % patch:
            raise ConfigError(message("size", size, f"multiples of patch={patch}"))
        self.channels, self.patch, self.dim = channels, patch, dim
        self.embed = nn.Conv2d(channels, dim, patch, patch)
        grid = size // patch
        self.position = nn.Parameter(self.embed.weight.new_empty(1, dim, grid, grid))
        self.blocks = nn.Sequential(*(_Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.position, std=0.02)
        fan_in = self.channels * self.patch**2
        nn.init.trunc_normal_(self.embed.weight, std=fan_in**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, view: View) -> Encoding:
        """``(B, channels, H, W)`` floats -> pooled ``(B, dim)``, tokens ``(B, H/patch * W/patch, dim)``, row-major.

        Raises:
            ShapeError: the image is smaller than one patch.
        """
        image = pixels(view, self.channels)
        if min(image.shape[-2:]) < self.patch:
            raise ShapeError(message("view.data", f"shape {tuple(image.shape)}", f"sides of at least {self.patch}"))
        x = self.embed(image)
        position: Tensor = self.position
        if x.shape[-2:] != position.shape[-2:]:
            position = functional.interpolate(position, size=x.shape[-2:], mode="bicubic", align_corners=False)
        tokens = self.norm(self.blocks((x + position).flatten(2).transpose(1, 2)))
        return Encoding(pooled=tokens.mean(1), tokens=tokens)
