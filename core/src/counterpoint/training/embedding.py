"""Samples -> features with a frozen encoder: ``eval()`` mode, no gradients, plain views, one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.training.data import loader
from counterpoint.types import Damaged, View

Encode = Callable[[View], Tensor]


@dataclass(slots=True)
class Embedded:
    """Features of some samples.

    Attributes:
        features: ``(N, D)`` float32, as the encoder gives them (not normalised), on the CPU.
        index: ``(N,)`` int64 positions in the dataset; damaged samples are absent.
        labels: ``(N,)`` int64, -1 unknown, or None.
        damaged: what could not be read.
        content: ``(N,)`` int64 content ids.
        targets: ``(N,)`` floating point, NaN unknown, or None.
    """

    features: Tensor
    index: Tensor
    labels: Tensor | None
    damaged: list[Damaged]
    content: Tensor
    targets: Tensor | None = None


def encode_with(encoder: Encoder) -> Encode:
    """The pooled features of ``encoder``, without gradients."""

    def encode(view: View) -> Tensor:
        pooled: Tensor = encoder(view).pooled
        return pooled.float()

    return encode


def raw_input(view: View) -> Tensor:
    """The honest floor: the plain view itself, flattened."""
    flat: Tensor = torch.as_tensor(view.data).float().flatten(1)
    return flat


@torch.no_grad()
def embed(
    encode: Callable[[View], Tensor | None],
    views: Views,
    dataset: Dataset,
    indices: Sequence[int],
    *,
    batch_size: int = 256,
    workers: int = 0,
    device: torch.device | str = "cpu",
    tick: Callable[[int], None] | None = None,
) -> Embedded:
    """Encode samples ``indices`` of ``dataset``, in order. Several modalities are concatenated along the features.

    Args:
        encode: view -> ``(B, D)``, or None for a view that is left out.
        views: whose ``plain`` is used.
        dataset: where samples come from.
        indices: positions.
        batch_size: samples at once.
        workers: reading processes.
        device: where the encoder is.
        tick: called with the number of samples done after each batch (progress).
    """
    batches = [[int(i) for i in indices[s : s + batch_size]] for s in range(0, len(indices), batch_size)]
    features, index, labels, content, targets, damaged = [], [], [], [], [], []
    for batch in loader(dataset, batches, workers=workers, fill=False):
        damaged += batch.damaged
        if len(batch):
            moved = batch.to(device)
            encoded = [encode(view) for view in views.plain(moved)]
            features.append(torch.cat([rows for rows in encoded if rows is not None], dim=1).cpu())
            index.append(batch.index)
            labels.append(batch.label)
            content.append(batch.content)
            targets.append(batch.target)
        if tick is not None:
            tick(len(batch) + len(batch.damaged))
    return Embedded(
        torch.cat(features) if features else torch.empty(0, 0),
        torch.cat(index) if index else torch.empty(0, dtype=torch.int64),
        _joined(labels),
        damaged,
        torch.cat(content) if content else torch.empty(0, dtype=torch.int64),
        _joined(targets),
    )


def _joined(columns: Sequence[Tensor | None]) -> Tensor | None:
    known = [column for column in columns if column is not None]
    return torch.cat(known) if known else None
