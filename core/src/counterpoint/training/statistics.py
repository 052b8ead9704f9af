"""BatchNorm statistics of an encoder whose batches were not like the data."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from counterpoint.parts import Dataset, Encoder, Views
from counterpoint.training.data import StepSampler, loader, mix, workers_for
from counterpoint.training.settings import Settings

BATCHES = 100
"""Mixed batches over which the statistics are averaged, at most."""


@torch.no_grad()
def recompute_statistics(
    encoder: Encoder, views: Views, dataset: Dataset, indices: np.ndarray, settings: Settings
) -> None:
    """Replace running means and variances by averages over mixed batches of training views.

    Batches of one cell have that cell's statistics, which are none of the data's. Norms that stay in eval mode while
    the encoder trains (frozen parts) are left alone, and so is an encoder without norms.

    Args:
        encoder: whose weights stay as they are; its mode is kept.
        views: of the training.
        dataset: samples.
        indices: training positions.
        settings: batch size, seed, workers.
    """
    mode = encoder.training
    encoder.train()
    norms = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    if norms:
        _average(norms, encoder, views, dataset, indices, settings)
    encoder.train(mode)


def _average(
    norms: list[_BatchNorm],
    encoder: nn.Module,
    views: Views,
    dataset: Dataset,
    indices: np.ndarray,
    settings: Settings,
) -> None:
    seed = mix(settings.seed, "statistics")
    rows = min(settings.batch_size, settings.micro_batch or settings.batch_size, len(indices))
    batches = [*islice(StepSampler(indices, rows, seed), BATCHES)]
    device, generator = next(encoder.parameters()).device, torch.Generator().manual_seed(seed)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain average
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for batch in loader(dataset, batches, workers=workers_for(dataset, settings), fill=True):
            for view in views(batch.to(device), generator):
                encoder(view)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
