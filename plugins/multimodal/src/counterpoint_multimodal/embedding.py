"""Pictures and texts -> vectors, by an encoder as it is and plain views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.parts import Encoder, Views
from counterpoint.types import Batch
from counterpoint_multimodal.data.captions import clean, encode, pad

GLOBAL, LOCAL = "global", "local"
TEXTS = 512
"""Texts at once."""


def roles(encoder: Encoder) -> tuple[str, ...]:
    """The heads of an encoder: ``"global"``, and ``"local"`` where it has such of its own (CLIP-rocket)."""
    return (GLOBAL, LOCAL) if getattr(encoder, "local_heads", False) else (GLOBAL,)


def embed_images(encoder: Encoder, views: Views, batch: Batch, role: str = GLOBAL) -> Tensor:
    """Embeddings ``(B, D)`` float32 of a batch's pictures, on the CPU; not normalised."""
    return _encoded(encoder, views, batch, "image", role)


def embed_texts(encoder: Encoder, views: Views, texts: Sequence[str], role: str = GLOBAL) -> Tensor:
    """Embeddings ``(len(texts), D)`` float32 of texts, cleaned as captions are, on the CPU; not normalised."""
    found = [torch.empty(0, encoder.dim)]
    for start in range(0, len(texts), TEXTS):
        rows = pad([encode([clean(text)]) for text in texts[start : start + TEXTS]])
        number = torch.arange(len(rows))
        found.append(_encoded(encoder, views, Batch({"text": rows}, number, number), "text", role))
    return torch.cat(found[1:] or found)


@torch.no_grad()
def _encoded(encoder: Encoder, views: Views, batch: Batch, modality: str, role: str) -> Tensor:
    batch = Batch({modality: batch.data[modality]}, batch.index, batch.content)
    (view,) = views.plain(batch.to(next(encoder.parameters()).device))
    view.role = role
    pooled: Tensor = encoder(view).pooled
    return pooled.float().cpu()
