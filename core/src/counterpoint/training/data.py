"""Batches for training: which samples, in which order, under which random views — a function of (seed, step) alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from counterpoint.errors import DataError
from counterpoint.parts import Dataset, Views
from counterpoint.training.settings import Settings, default_threads
from counterpoint.types import Batch, Damaged, Sample, View


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

    def __len__(self) -> int:
        return len(self.indices) // (self.batch_size * self.ranks)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng(mix(self.seed, "order", self.epoch)).permutation(self.indices)
        skip, self.skip = self.skip, 0
        for step in range(skip, len(self)):
            start = (step * self.ranks + self.rank) * self.batch_size
            yield order[start : start + self.batch_size].tolist()


class Collate:
    """Samples -> `Batch` of full size: the place of a damaged sample is taken by another of the same batch.

    The stand-in has the content id of its twin, so it is never a negative; and batches stay equal in size, which batch
    statistics and several processes need.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __call__(self, samples: list[Sample | Damaged]) -> Batch:
        """Put together what could be read; DataError when nothing could."""
        good = [s for s in samples if isinstance(s, Sample)]
        damaged = [s for s in samples if isinstance(s, Damaged)]
        if not good:
            names = ", ".join(d.name for d in damaged[:3])
            raise DataError(
                f"None of the {len(damaged)} samples of a batch can be read: {names}, … ({damaged[0].reason})"
            )
        stand_ins = [good[i % len(good)] for i in range(len(damaged))]
        return replace(self.dataset.collate([*good, *stand_ins]), damaged=damaged)


def workers_for(dataset: Dataset, settings: Settings) -> int:
    """Reading processes: as set, else none for data in memory, else one per core that training leaves (at least one)."""
    if settings.workers is not None:
        return settings.workers
    if getattr(dataset, "in_memory", False):
        return 0
    return max(1, (os.cpu_count() or 1) - (settings.threads or default_threads()))


class RunData(LightningDataModule):
    """Batches and their views for Lightning's trainer.

    Args:
        dataset: samples.
        views: augmentations, run on the batch's device.
        indices: training positions.
        settings: batch size, seed, workers.
    """

    def __init__(self, dataset: Dataset, views: Views, indices: np.ndarray, settings: Settings) -> None:
        super().__init__()
        self.dataset, self.views, self.indices, self.settings = dataset, views, indices, settings

    def train_dataloader(self) -> DataLoader[Batch]:
        """Loader that continues after ``trainer.global_step`` steps, wherever in an epoch that is."""
        trainer = self.trainer
        sampler = StepSampler(
            self.indices,
            self.settings.batch_size,
            self.settings.seed,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )
        sampler.epoch, sampler.skip = divmod(trainer.global_step, len(sampler))
        workers = workers_for(self.dataset, self.settings)
        return DataLoader(
            self.dataset,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=Collate(self.dataset),
            pin_memory=trainer.strategy.root_device.type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=_one_thread if workers else None,
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Batch, list[View]]:
        """Make the step's views from a generator seeded by (seed, step, rank)."""
        trainer: Any = self.trainer
        generator = torch.Generator().manual_seed(
            mix(self.settings.seed, "views", trainer.global_step, trainer.global_rank)
        )
        return batch, self.views(batch, generator)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
