"""A tiny pair of towers, never trained, and a few coloured images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from counterpoint.parts import Views
from counterpoint.plugin import borrowed
from counterpoint_multimodal.encoders import TwoTowers

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
SIDE = 16


def drawn(seed: int) -> TwoTowers:
    """Towers with four image blocks, whose vocabulary knows a few words."""
    vit = {"size": SIDE, "patch": 4, "dim": 12, "depth": 4, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = TwoTowers(16, "vision/tinyvit", vit, text_width=16, text_layers=1, text_heads=2, vocabulary=320)
    made.text.tokenizer.learn([f"a photo of a {name} square." for name in COLOURS])
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def towers() -> Callable[[int], TwoTowers]:
    return drawn


@pytest.fixture(scope="session")
def encoder() -> TwoTowers:
    return drawn(0)


@pytest.fixture(scope="session")
def views() -> Views:
    made: Views = borrowed("views", "vision/simclr").load()(size=SIDE)
    return made


@pytest.fixture(scope="session")
def names() -> list[str]:
    return [f"{name} square" for name in COLOURS]


@pytest.fixture(scope="session")
def images() -> Tensor:
    """Six noisy images of each colour, uint8 ``(24, 3, 16, 16)``."""
    noise = torch.randint(-20, 20, (24, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    plain = torch.tensor(list(COLOURS.values())).repeat_interleave(6, 0)[:, :, None, None]
    return (plain + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="session")
def labels() -> Tensor:
    return torch.arange(4).repeat_interleave(6)
