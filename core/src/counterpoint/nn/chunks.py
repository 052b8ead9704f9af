"""Exact gradient caching: a batch larger than memory, through the encoder in chunks, with the whole batch's gradients.

GradCache (Gao et al. 2021) encodes without gradients, computes the loss on all embeddings, and encodes again chunk by
chunk with the embeddings' gradients. Checkpointing each chunk is the same computation in the same order, and works with
automatic optimisation and DDP: only inputs and embeddings are kept, so activation memory is that of one chunk; random
states are replayed, so dropout masks are the same both times. Cost: one more forward, 4/3 of the time.

BatchNorm normalises over a chunk instead of the batch (as in every implementation of the idea); its running statistics
are updated once, not again in the second forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from counterpoint.errors import ConfigError, message
from counterpoint.types import Encoding, View


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norms keep normalising by the batch but leave their running statistics alone."""
    norms = [m for m in module.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept):
            norm.running_mean, norm.running_var = mean, variance
            norm.track_running_stats = True


def encode_in_chunks(encoder: nn.Module, view: View, micro_batch: int) -> Encoding:
    """``encoder(view)``, ``micro_batch`` rows at a time, with memory for the activations of one chunk only.

    Args:
        encoder: view -> `Encoding`.
        view: ``B`` rows.
        micro_batch: rows at once.

    Raises:
        ConfigError: ``micro_batch`` below 1.
    """
    if micro_batch < 1:
        raise ConfigError(message("micro_batch", micro_batch, "a whole number from 1"))
    rows = view.data.shape[0]
    if rows <= micro_batch or not torch.is_grad_enabled():
        whole: Encoding = encoder(view)
        return whole
    parts = [_cached(encoder, replace(view, data=chunk)) for chunk in view.data.split(micro_batch)]
    return Encoding(*(_joined([getattr(p, f.name) for p in parts]) for f in fields(Encoding)))


def _joined(parts: list[Any]) -> Any:
    return None if parts[0] is None else torch.cat(parts)


def _cached(encoder: nn.Module, view: View) -> Encoding:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(encoder)

    encoding: Encoding = checkpoint(encoder, view, use_reentrant=False, preserve_rng_state=True, context_fn=contexts)
    return encoding
