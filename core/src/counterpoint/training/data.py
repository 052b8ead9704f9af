"""Batches for training: which samples, in which order, under which random views — a function of (seed, step) alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from counterpoint.errors import DataError
from counterpoint.parts import Dataset, Views
from counterpoint.training.settings import Settings, default_threads
from counterpoint.types import Batch, View


def mix(*numbers: int | str) -> int:
    """One 63-bit seed out of several numbers; near inputs give unrelated seeds."""
    text = "/".join(str(n) for n in numbers).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


class StepSampler(Sampler[list[int]]):
    """Batches of indices for one rank: a fresh permutation an epoch, the uneven last batch dropped.

    Args:
        indices: positions in the dataset to draw from.
        batch_size: rows per rank.
        seed: together with the epoch it decides the order.
        rank, ranks: this process and how many there are; a global batch is dealt out in equal, disjoint parts.
        epoch, skip: where to start (resume): this epoch, without its first ``skip`` batches.
    """

    def __init__(
        self,
        indices: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        epoch: int = 0,
        skip: int = 0,
    ) -> None:
        self.indices, self.batch_size, self.seed = indices, batch_size, seed
        self.rank, self.ranks, self.epoch, self.skip = rank, ranks, epoch, skip

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    @property
    def rows(self) -> int:
        """Rows of a step over all ranks."""
        return self.batch_size * self.ranks

    def __len__(self) -> int:
        return len(self.indices) // self.rows

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.global_batches(np.random.default_rng(mix(self.seed, "order", self.epoch)))
        skip, self.skip = self.skip, 0
        start = self.rank * self.batch_size
        for batch in batches[skip:]:
            yield batch[start : start + self.batch_size].tolist()

    def global_batches(self, generator: np.random.Generator) -> np.ndarray:
        """One epoch's batches over all ranks, ``(steps, batch_size * ranks)`` positions."""
        return self.cut(generator.permutation(self.indices))

    def cut(self, order: np.ndarray) -> np.ndarray:
        """Positions in their order -> full batches over all ranks, the rest left out."""
        steps = len(order) // self.rows
        return order[: steps * self.rows].reshape(steps, self.rows)


class Batches(TorchDataset[Batch]):
    """Lists of indices -> batches of full size (what a loader's processes run).

    The place of a damaged sample is taken by another of the same batch. The stand-in has its twin's content id, so it
    is never a negative; and batches stay equal in size, which batch statistics and several processes need.

    Args:
        dataset: where samples come from.
        fill: whether to fill the places of damaged samples (training), or to leave them out (embedding).
    """

    def __init__(self, dataset: Dataset, fill: bool) -> None:
        self.dataset, self.fill = dataset, fill

    def __getitem__(self, indices: list[int]) -> Batch:
        batch = self.dataset.batch(indices)
        return filled(batch, len(indices)) if self.fill and batch.damaged else batch


def filled(batch: Batch, size: int) -> Batch:
    """``batch`` with rows repeated until there are ``size``.

    Raises:
        DataError: it has no row at all.
    """
    rows = len(batch)
    if rows == 0:
        names = ", ".join(d.name for d in batch.damaged[:3])
        reason = batch.damaged[0].reason if batch.damaged else "it is empty"
        raise DataError(f"None of the {size} samples of a batch can be read: {names}, … ({reason})")
    order = torch.arange(size) % rows
    data = {m: [v[i] for i in order] if isinstance(v, list) else v[order] for m, v in batch.data.items()}
    label = None if batch.label is None else batch.label[order]
    target = None if batch.target is None else batch.target[order]
    index, content = batch.index[order], batch.content[order]
    return replace(batch, data=data, index=index, content=content, label=label, target=target)


def loader(dataset: Dataset, batches: Any, *, workers: int, fill: bool, pin: bool = False) -> DataLoader[Batch]:
    """Loader of whole batches; ``batches`` gives their lists of indices."""
    return DataLoader(
        Batches(dataset, fill),
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread if workers else None,
    )


def workers_for(dataset: Dataset, settings: Settings) -> int:
    """Reading processes: as set, else none for data in memory, else one per core that training leaves."""
    if settings.workers is not None:
        return settings.workers
    if dataset.in_memory:
        return 0
    return max(1, (os.cpu_count() or 1) - (settings.threads or default_threads()))


class RunData(LightningDataModule):
    """Batches and their views for Lightning's trainer.

    Args:
        dataset: samples.
        views: augmentations, run on the batch's device.
        indices: training positions.
        settings: batch size, seed, workers.
        order: makes the sampler, called as `StepSampler` is.
    """

    def __init__(
        self,
        dataset: Dataset,
        views: Views,
        indices: np.ndarray,
        settings: Settings,
        order: Callable[..., StepSampler] = StepSampler,
    ) -> None:
        super().__init__()
        self.dataset, self.views, self.indices, self.settings = dataset, views, indices, settings
        self.order = order

    def sampler(self, rank: int = 0, ranks: int = 1) -> StepSampler:
        """The batches of one process of ``ranks``."""
        return self.order(self.indices, self.settings.batch_size, self.settings.seed, rank=rank, ranks=ranks)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Loader that continues after ``trainer.global_step`` steps, wherever in an epoch that is."""
        trainer: Any = self.trainer
        sampler = self.sampler(trainer.global_rank, trainer.world_size)
        sampler.epoch, sampler.skip = divmod(trainer.global_step, len(sampler))
        workers = workers_for(self.dataset, self.settings)
        pin = trainer.strategy.root_device.type == "cuda"
        return loader(self.dataset, sampler, workers=workers, fill=True, pin=pin)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Batch, list[View]]:
        """Make the step's views from a generator seeded by (seed, step, rank)."""
        trainer: Any = self.trainer
        generator = torch.Generator().manual_seed(
            mix(self.settings.seed, "views", trainer.global_step, trainer.global_rank)
        )
        return batch, self.views(batch, generator)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
