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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import ConfigError, message
from counterpoint.nn import rows
from counterpoint.types import Encoding, View

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch and instance norms in training go on normalising by the batch but leave their running statistics alone."""
    norms = [m for m in module.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    kept = [{name: getattr(norm, name) for name in _STATISTICS} for norm in norms]
    for norm in norms:  # the flag is what batch norms go by; instance norms go by the buffers
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, statistics in zip(norms, kept):
            norm.track_running_stats = True
            for name, value in statistics.items():
                setattr(norm, name, value)


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

    def run(data: Any) -> Encoding:
        encoding: Encoding = encoder(replace(view, data=data))
        return Encoding(encoding.pooled) if pooled_only else encoding

    if count <= micro_batch:
        return run(view.data)
    cached = torch.is_grad_enabled()
    return _joined(
        [_cached(encoder, run, chunk) if cached else run(chunk) for chunk in rows.cut(view.data, micro_batch)]
    )


def _cached(encoder: nn.Module, run: Callable[[Any], Encoding], chunk: Any) -> Encoding:
    again = False

    def run_or_repeat(data: Any) -> Encoding:
        nonlocal again
        with frozen_statistics(encoder) if again else nullcontext():
            again = True
            return run(data)

    # The chunk itself is the argument: by it `checkpoint` knows whose random states to keep, the CPU's or a GPU's.
    encoding: Encoding = checkpoint(run_or_repeat, chunk, use_reentrant=False, preserve_rng_state=True)
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
