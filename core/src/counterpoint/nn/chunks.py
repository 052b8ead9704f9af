"""Exact gradient caching: a batch larger than memory, through the encoder in chunks, with the whole batch's gradients.

GradCache (Gao et al. 2021) encodes without gradients, computes the loss on all embeddings, and encodes again chunk by
chunk with the embeddings' gradients. Checkpointing each chunk is the same computation in the same order, and works with
automatic optimisation and DDP: only inputs and embeddings are kept, so activation memory is that of one chunk; random
states are replayed, so dropout masks are the same both times. Cost: one more forward, 4/3 of the time.

BatchNorm normalises over a chunk instead of the batch (as in every implementation of the idea); its running statistics
are updated once a chunk, not again in the second forward. Other buffers that a forward pass changes (spectral norm's
vectors) are not looked after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import ConfigError, message
from counterpoint.nn import rows
from counterpoint.types import Encoding, View


def running_statistics(module: nn.Module) -> dict[str, Tensor]:
    """Copies of what the batch and instance norms inside ``module`` keep, by the buffers' names."""
    norms = {name: m for name, m in module.named_modules() if isinstance(m, _NormBase)}
    return {f"{name}.{key}".lstrip("."): b.clone() for name, norm in norms.items() for key, b in norm.named_buffers()}


def encode_in_chunks(encoder: nn.Module, view: View, micro_batch: int, pooled_only: bool = False) -> Encoding:
    """``encoder(view)``, ``micro_batch`` rows at a time, with memory for the activations of one chunk only.

    Args:
        encoder: view -> `Encoding`.
        view: data that can be cut into rows (see `rows`).
        micro_batch: rows at once. Without gradients, too: what stands between two layers is memory as well.
        pooled_only: leave tokens and mask out, which otherwise stay in memory for the whole batch.

    Raises:
        ConfigError: ``micro_batch`` below 1, or data that cannot be cut into rows.
    """
    if micro_batch < 1:
        raise ConfigError(message("micro_batch", micro_batch, "a whole number from 1"))
    count = rows.count(view.data)
    if count is None:
        found = f"{micro_batch} for views of {view.modality!r}, a {type(view.data).__name__}"
        todo = "Set it to the batch size, which turns gradient caching off."
        raise ConfigError(message("micro_batch", found, "only for views that can be cut into rows", todo))

    if count <= micro_batch:
        return _plain(encoder, view, pooled_only)
    run = _cached if torch.is_grad_enabled() else _plain
    return _joined([run(encoder, replace(view, data=c), pooled_only) for c in rows.cut(view.data, micro_batch)])


def _plain(encoder: nn.Module, view: View, pooled_only: bool) -> Encoding:
    encoding: Encoding = encoder(view)
    return Encoding(encoding.pooled) if pooled_only else encoding


def _cached(encoder: nn.Module, view: View, pooled_only: bool) -> Encoding:
    again = False

    def run(data: Any) -> Encoding:
        # The second time the norms write into copies: they need somewhere to write, or other tensors would be saved
        # for the backward pass than the first time.
        nonlocal again
        copies = running_statistics(encoder) if again else {}
        again = True
        encoding: Encoding = functional_call(encoder, copies, (replace(view, data=data),))
        return Encoding(encoding.pooled) if pooled_only else encoding

    # The data itself is the argument: by it `checkpoint` knows whose random states to keep, the CPU's or a GPU's.
    encoding: Encoding = checkpoint(run, view.data, use_reentrant=False, preserve_rng_state=True)
    return encoding


def _joined(parts: Sequence[Encoding]) -> Encoding:
    pooled = torch.cat([part.pooled for part in parts])
    tokens = [part.tokens for part in parts if part.tokens is not None]
    if not tokens:
        return Encoding(pooled)
    if all(part.mask is None for part in parts):
        return Encoding(pooled, torch.cat(tokens))
    # A chunk without a mask among chunks with one: all its tokens are real.
    masks = [
        part.mask if part.mask is not None else _all_real(part.tokens) for part in parts if part.tokens is not None
    ]
    return Encoding(pooled, torch.cat(tokens), torch.cat(masks))


def _all_real(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
