"""Images that look like photographs to the operations: smooth, in full range, with ties, grey and clipped parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional


def picture(*shape: int, seed: int = 0) -> Tensor:
    """``(..., 3, H, W)`` uint8: smooth colour, clipped at both ends; the upper left corner of each is grey."""
    generator = torch.Generator().manual_seed(seed)
    *batch, height, width = shape
    coarse = torch.rand(max(1, *batch, 1), 3, max(2, height // 6), max(2, width // 6), generator=generator) * 360 - 50
    image = functional.interpolate(coarse, (height, width), mode="bilinear").clamp(0, 255).to(torch.uint8)
    image[..., : height // 3, : width // 3] = image[:, :1, : height // 3, : width // 3]
    return image if batch else image[0]


@pytest.fixture(name="picture")
def _picture():
    return picture
