"""Encoders that take part in a fusion: their layers, and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint import plugin as plugins
from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.nn import attention_entropy, calm_layers
from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.plugin import borrowed
from counterpoint.training.encoder_files import load_encoder, read_config, registered
from counterpoint.types import Encoding, View
from counterpoint_multimodal.encoders.fusion import Grid, Stack, grid_of
from counterpoint_multimodal.encoders.layers import layers

PROBE = 32
"""Side in pixels of the picture by which an encoder's layers are counted, unless its own size is given."""
CALM_SAMPLES = 256
"""Training pictures over which the spread of attention is measured."""


class Member(nn.Module):
    """One of the encoders that are fused: tells the tokens of its layers.

    Args:
        encoder: any encoder of pictures with tokens and blocks; of several towers the image tower is taken.
        size: side in pixels to which its pictures are resized; None: as they come.
        frozen: keep its weights and statistics as they are.

    Attributes:
        stack: how many layers, and how wide.

    Raises:
        ConfigError: an encoder without blocks or tokens.
    """

    def __init__(self, encoder: Encoder, size: int | None = None, frozen: bool = False) -> None:
        super().__init__()
        tower: Any = getattr(encoder, "image", encoder)
        self.encoder: Encoder = tower
        self.size, self.frozen = size, frozen
        if frozen:
            self.encoder.requires_grad_(False)
        self.eval()
        side = size or PROBE
        with torch.no_grad():
            found, _ = self(View(torch.zeros(1, 3, side, side), "image"))
        self.train()
        self.stack = Stack(found.shape[1], found.shape[3])

    def train(self, mode: bool = True) -> Member:
        """As ever, but a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, view: View) -> tuple[Tensor, Grid]:
        """Image view ``(B, 3, H, W)`` -> layers ``(B, K, N, F)`` and their grid.

        The last layer is the encoder's own tokens, behind its last norm. Layers of another width or grid (the earlier
        stages of a ResNet) are left out.
        """
        view = self.resized(view)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            found, last = self._tokens(view)
        alike = [tokens for tokens in found[:-1] if tokens.shape == last.shape]
        return torch.stack([*alike, last], 1), grid_of(last.shape[1], *view.data.shape[-2:])

    def resized(self, view: View) -> View:
        """The view at the member's size; what is no picture passes, and the encoder says what is wrong."""
        image: Any = view.data
        if self.size is None or not isinstance(image, Tensor) or image.dim() != 4 or not image.is_floating_point():
            return view
        side = (self.size, self.size)
        if image.shape[-2:] == side:
            return view
        small = F.interpolate(image, side, mode="bilinear", antialias=True, align_corners=False)
        return View(small, view.modality, view.role)

    def calm(self, views: Views, dataset: Dataset) -> list[int]:
        """The layers whose attention is calm (`counterpoint.nn.calm_layers`), by up to 256 training pictures.

        Args:
            views: with which the encoder was trained; their ``plain`` prepares the pictures.
            dataset: whose train split is looked at.

        Raises:
            ConfigError: an encoder that does not attend once a layer.
        """
        train = dataset.splits()["train"]
        some = train[:: max(1, len(train) // CALM_SAMPLES)][:CALM_SAMPLES]
        plain = views.plain(dataset.batch(some.tolist()))
        view = self.resized(next(view for view in plain if view.modality == "image"))
        try:
            curve = attention_entropy(self.encoder, view)
        except ShapeError:
            curve = []
        if len(curve) != self.stack.layers:
            found = f"'calm' for {type(self.encoder).__name__}, which attends {len(curve)} times"
            allowed = f"'all', or numbers from 0 to {self.stack.layers - 1}"
            raise ConfigError(message("layers", found, allowed))
        return calm_layers(curve)

    def _tokens(self, view: View) -> tuple[list[Tensor], Tensor]:
        """Tokens after each block, and the encoder's own."""
        ends: list[Encoding] = []
        handle = self.encoder.register_forward_hook(lambda module, inputs, output: ends.append(output))
        try:
            found = layers(self.encoder, view)
        finally:
            handle.remove()
        last = ends[0].tokens
        if last is None:
            raise ConfigError(message("images", type(self.encoder).__name__, "encoders with tokens"))
        return found, last


def borrow(name: str) -> type[Encoder]:
    """The encoder called ``plugin/encoder``."""
    found: type[Encoder] = borrowed("encoders", name).load()
    return found


def from_run(run: str) -> tuple[Encoder, Views]:
    """The trained encoder of a run, and the views that it was trained with.

    Raises:
        RunError: the run is missing, unfinished or damaged.
    """
    encoder, views, _, _ = load_encoder(Path(run) / "encoder")
    return encoder.requires_grad_(True), views


def described(run: str) -> tuple[str, dict[str, Any]]:
    """Name as ``plugin/encoder`` and arguments of a run's encoder.

    Raises:
        RunError: the run is missing, unfinished or damaged.
    """
    config = read_config(Path(run) / "encoder")
    plugin = plugins.get(str(config.get("plugin")))
    encoder = config["encoder"]
    name = registered(plugin, "encoders", encoder["class_path"])
    return f"{plugin.name}/{name}", dict(encoder.get("init_args") or {})
