"""A residual network for images of 32-64 pixels on CPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Encoder
from counterpoint.types import Encoding, View
from counterpoint_vision.encoders._input import pixels, positive

Norm = Literal["batch", "group"]
GROUPS = 8


def _norm(kind: Norm, channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(math.gcd(GROUPS, channels), channels)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, the basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class SlimResNet(Encoder):
    """A residual network that is quick where big ones are not: small images, one CPU thread.

    A 3x3 stem of stride 2, then one stage per entry of ``depth``; each stage begins by halving the map and (after the
    first) doubles the channels: at 32 px the maps have 16, 8, 4 and 2 pixels a side. Nearly all the time of a small
    network goes to its largest maps, so the map shrinks at once and the multiply-adds go to the deep stages, where
    ordinary (not depthwise) convolutions run near the processor's peak. Works on any image from 8 px up; pooling is
    the mean over the last map. 3.3 million multiply-adds an image at 32 px; forward and backward of a training step run
    at 3,200 views/s at 32 px and 7,000 at 20 px (batch 256, one thread of a busy server core with AVX-512; width 48:
    7.3 million, 1,700 views/s). Inside it computes in channels-last order; the weights stay contiguous.

    Args:
        width: channels of the first stage; multiples of 16 run best.
        depth: residual blocks per stage. Few and wide stages learn more per view but take longer for one:
            ``width=64, depth=(1, 1), stem=32`` has 7.6 million multiply-adds at 32 px.
        stem: channels of the stem; by default ``width``.
        channels: channels of the images (3 colour, 1 grey).
        zero_init: start every block as the identity (Goyal et al. 2017): the last norm's scale is 0.
        norm: ``"batch"``; or ``"group"``, 8 groups of channels by sample, for batches that are not like the data (the
            later of several stages, whose batches come from one cell) or that are tiny.

    Attributes:
        dim: ``width * 2 ** (len(depth) - 1)``; 128 by default.

    Raises:
        ConfigError: a setting below 1, or no stage.
    """

    capabilities = frozenset({"tokens", "dense"})

    def __init__(
        self,
        width: int = 32,
        depth: Sequence[int] = (1, 1, 1),
        stem: int | None = None,
        channels: int = 3,
        zero_init: bool = False,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise ConfigError(message("norm", repr(norm), " or ".join(map(repr, get_args(Norm)))))
        if not depth:
            raise ConfigError(message("depth", "no stage", "one number of blocks per stage", "Try depth=[1, 1, 1]."))
        stem = width if stem is None else stem
        positive(width=width, stem=stem, channels=channels, **{f"depth[{i}]": blocks for i, blocks in enumerate(depth)})
        self.channels = channels
        self.stem = nn.Conv2d(channels, stem, 3, 2, 1, bias=False)
        self.norm = _norm(norm, stem)
        blocks: list[nn.Module] = []
        inputs = stem
        for stage, repeats in enumerate(depth):
            outputs = width * 2**stage
            for number in range(repeats):
                blocks.append(_Block(inputs, outputs, stride=2 if number == 0 else 1, norm=norm))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.dim = inputs
        self._initialise(zero_init)

    def _initialise(self, zero_init: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, _Block) and zero_init:
                nn.init.zeros_(module.norm2.weight)

    def forward(self, view: View) -> Encoding:
        """``(B, channels, H, W)`` floats -> pooled ``(B, dim)``, tokens ``(B, H' * W', dim)`` in row-major order."""
        x = pixels(view, self.channels).contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        x = self.blocks(x)
        tokens = x.flatten(2).transpose(1, 2)  # free: channels-last memory is already (B, H, W, D)
        return Encoding(pooled=tokens.mean(1), tokens=tokens)
