"""The tokens after each block of an image encoder that was not asked to tell them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Encoder
from counterpoint.types import View

PLACES = ("blocks", "model.blocks", "model.stages", "model.layers", "model.encoder.layers")
"""Where networks keep their blocks: the vision plugin's; timm's transformers, and its networks in stages; CLIP."""
STAGES = ("layer1", "layer2", "layer3", "layer4")
"""timm's ResNets have each stage under its own name."""


def blocks(encoder: Encoder) -> list[nn.Module]:
    """The blocks of an encoder, in order.

    Raises:
        ConfigError: it has none of the known places.
    """
    for place in PLACES:
        found: Any = encoder
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, Iterable):
            return list(found)
    model: Any = getattr(encoder, "model", None)
    if all(hasattr(model, name) for name in STAGES):
        return [getattr(model, name) for name in STAGES]
    known = ", ".join(PLACES)
    raise ConfigError(message("encoder", type(encoder).__name__, f"one with blocks in any of: {known}"))


def layers(encoder: Encoder, view: View) -> list[Tensor]:
    """Tokens ``(B, N, W)`` after each block: of places in row-major order, without class and register tokens."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        found.append(_tokens(encoder, output[0] if isinstance(output, tuple) else output))

    handles = [block.register_forward_hook(keep) for block in blocks(encoder)]
    try:
        encoder(view)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _tokens(encoder: Encoder, output: Tensor) -> Tensor:
    model = getattr(encoder, "model", encoder)
    if output.dim() == 3:
        return output[:, int(getattr(model, "num_prefix_tokens", 0)) :]
    if getattr(model, "output_fmt", "NCHW") == "NHWC":
        return output.flatten(1, 2)
    return output.flatten(2).transpose(1, 2)
