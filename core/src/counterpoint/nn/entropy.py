"""How spread an encoder's attention is, layer by layer, and which layers that speaks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from counterpoint.errors import ShapeError, message


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats over the last dimension: ``log n`` where all are equal, 0 where one is 1."""
    terms: Tensor = torch.special.entr(probabilities)
    return terms.sum(-1)


@torch.no_grad()
def attention_entropy(model: Callable[[Any], Any], batch: Any) -> list[float]:
    """Mean entropy in nats of the attention's rows, over heads, queries and samples, one number a layer.

    Every ``torch.nn.functional.scaled_dot_product_attention`` that ``model(batch)`` calls is a layer, in the order of
    the calls, so that any network is measured that calls it (torch's, timm's, transformers' and ours do).

    Args:
        model: an encoder in eval mode, or any function.
        batch: what it takes.

    Raises:
        ShapeError: it never called that function.
    """
    watch = _Watch()
    with watch:
        model(batch)
    if not watch.found:
        allowed = "at least one call of scaled_dot_product_attention"
        raise ShapeError(message("attention of the model", "none", allowed, "Switch its fused attention on."))
    return watch.found


def token_entropy(layers: Sequence[Tensor]) -> list[float]:
    """Mean entropy in nats of the softmax over channels of each layer's LayerNormed tokens ``(B, N, D)``."""
    return [float(entropy(F.layer_norm(tokens, tokens.shape[-1:]).softmax(-1)).mean()) for tokens in layers]


def calm_layers(entropies: Sequence[float]) -> list[int]:
    """The deepest run of neighbouring layers whose entropy is below the curve's mean; all where none is below.

    For a self-supervised encoder this finds the late, spatially stable layers (CoME-VL: 10-23 of DINOv3's 24).
    """
    mean = fmean(entropies)
    below = [number for number, value in enumerate(entropies) if value < mean]
    if not below:
        return list(range(len(entropies)))
    start = end = below[-1]
    while start - 1 in below:
        start -= 1
    return list(range(start, end + 1))


class _Watch(TorchFunctionMode):
    """Sees every scaled dot product attention, and keeps the mean entropy of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            self.found.append(_rows(*args, **kwargs))
        return function(*args, **kwargs)


def _rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> float:
    """Entropy of an attention's rows, from the arguments of torch's function."""
    scores = query.float() @ key.float().transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return float(entropy(scores.softmax(-1)).mean())
