"""The numbers of a pretraining, typed; YAML keys, command-line options and Python keywords are these names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from counterpoint.errors import ConfigError, message

OptimizerName = Literal["adamw", "adam", "sgd", "lars"]


@dataclass
class Optimization:
    """Optimiser and its schedule: linear warm-up, then half a cosine.

    Args:
        name: adamw, adam, sgd (with momentum) or lars (sgd with layer-wise rates, for very large batches).
        lr: peak learning rate, as it is: nothing is scaled behind your back.
        weight_decay: not applied to biases and norms.
        momentum: of sgd and lars.
        betas: of adamw and adam: how much of the mean of the gradients, and of that of their squares, is kept a step;
            each from 0 up to but not 1. Large batches often want (0.9, 0.98) or (0.9, 0.95).
        warmup: share of all steps spent warming up, 0 to 1.
        final_lr: share of ``lr`` that is left at the end, 0 to 1.
    """

    name: OptimizerName = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.05
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        for key in ("warmup", "final_lr"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(message(f"optimization.{key}", getattr(self, key), "a share from 0 to 1"))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(message("optimization.betas", self.betas, "two numbers from 0 up to but not 1"))
        if self.lr < 0 or self.weight_decay < 0:
            raise ConfigError(
                message("optimization", f"lr={self.lr}, weight_decay={self.weight_decay}", "numbers from 0")
            )


@dataclass
class Stages:
    """Multistage contrastive learning (MCL), for encoders that stop at the first easy feature.

    After each stage the training samples are clustered in its encoder's space; in the next one a new encoder has its
    negatives from its own cell only, where what is learnt already tells nothing apart. What is kept is the encoders
    side by side. Each stage trains for ``epochs``, and is a run of its own in ``stages/<number>``.

    Args:
        count: encoders that are trained one after the other; 1: plain training.
        clusters: of each clustering (k-means). Two to eight for small data: a stage has up to
            clusters^(stages before it) cells.
        cells: intersection: a cell is what all earlier clusterings put together (the paper); latest: only the newest
            one (the released script).
        init: what a further stage begins with. fresh: other random weights; base: those that the first began with;
            previous: those that the stage before ended with. Weights from elsewhere (pretrained) are in all of them.
        min_cell: smaller cells are merged with their nearest sibling; null: what a step needs, so that none is lost.
        norm: joint: each stage counts by its embedding's length; per_stage: all count the same.
        modality: whose embeddings are clustered; null: the first.
    """

    count: int = 1
    clusters: int = 8
    cells: Literal["intersection", "latest"] = "intersection"
    init: Literal["fresh", "base", "previous"] = "fresh"
    min_cell: int | None = None
    norm: Literal["joint", "per_stage"] = "joint"
    modality: str | None = None

    def __post_init__(self) -> None:
        for key, least in (("count", 1), ("clusters", 2), ("min_cell", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise ConfigError(message(f"stages.{key}", value, f"a whole number from {least}"))


@dataclass
class Settings:
    """How a training runs.

    Args:
        epochs: passes over the training split.
        batch_size: samples per optimiser step on one process. This, times the processes, sets the number of negatives.
        micro_batch: samples that go through the encoder at once; smaller ones save memory and give the same gradients
            (gradient caching). null: as many as the free memory allows.
        seed: every random draw follows from it.
        workers: processes that read data. null: none for data in memory, else one per core that training leaves.
        threads: CPU threads for tensors. null: $COUNTERPOINT_THREADS, else all cores but one (one at least).
        precision: 32-true, bf16-mixed, 16-mixed, … (Lightning's words); never chosen by itself.
        accelerator: auto, cpu, gpu, mps (Lightning's words).
        devices: auto, or how many.
        num_nodes: machines.
        strategy: auto, ddp, fsdp, … (Lightning's words).
        save_minutes: minutes between checkpoints; one is also written at each epoch's end.
        save_steps: steps between checkpoints, if set.
        monitor_steps: steps between two rows of the step monitors.
        monitor_epochs: epochs between two looks at the encoder on val (the online kNN, the plugin's protocol).
        select: keep the encoder of the epoch that is best on val by this metric, e.g. "recall@20"; null: the last one.
        patience: with select: stop after so many looks without a better one; null: train to the end.
        max_steps: stop after so many steps (schedules follow it); null: epochs decide.
        cells: a Parquet table with the columns index and cell: every batch, so every negative, is then of one cell.
        init: a run whose encoder's weights training begins with; null: the encoder's own.
        tensorboard: write TensorBoard logs beside metrics.csv.
        progress: show the progress bar.
        report: write report.html at the end (seconds; `counterpoint report` writes it at any time).
    """

    epochs: int = 20
    batch_size: int = 256
    micro_batch: int | None = None
    seed: int = 0
    workers: int | None = None
    threads: int | None = None
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: str | int = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    save_minutes: float = 5.0
    save_steps: int | None = None
    monitor_steps: int = 20
    monitor_epochs: int = 1
    select: str | None = None
    patience: int | None = None
    max_steps: int | None = None
    cells: str | None = None
    init: str | None = None
    tensorboard: bool = True
    progress: bool = True
    report: bool = True

    def __post_init__(self) -> None:
        smallest = {"epochs": 1, "batch_size": 2, "micro_batch": 1, "workers": 0, "threads": 1, "num_nodes": 1}
        smallest |= {"save_steps": 1, "monitor_steps": 1, "monitor_epochs": 1, "patience": 1, "max_steps": 1, "seed": 0}
        for key, least in smallest.items():
            value = getattr(self, key)
            if value is not None and value < least:
                raise ConfigError(message(key, value, f"a whole number from {least}"))
        if self.save_minutes <= 0:
            raise ConfigError(message("save_minutes", self.save_minutes, "a number above 0"))
        if self.patience is not None and self.select is None:
            raise ConfigError(message("patience", self.patience, "null without select", "By what shall it be judged?"))


def default_threads() -> int:
    """``$COUNTERPOINT_THREADS``, else all cores but one.

    One core is left on purpose: OpenMP threads wait for each other at every operation, so that one busy core makes
    *all* of them wait; two threads on a two-core machine with one busy core were measured 4 to 20 times slower
    than one. The free core reads data.
    """
    named = os.environ.get("COUNTERPOINT_THREADS", "")
    if named:
        if not named.isdecimal() or int(named) < 1:
            raise ConfigError(message("$COUNTERPOINT_THREADS", repr(named), "a whole number from 1"))
        return int(named)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1)


def set_threads(threads: int | None) -> int:
    """Set torch's CPU threads to ``threads`` (None: `default_threads`) and return the number."""
    import torch

    number = threads or default_threads()
    torch.set_num_threads(number)
    return number


def settings_of(config: Any) -> Settings:
    """`Settings` from a parsed configuration (checks the values)."""
    return Settings(**{key: getattr(config, key) for key in Settings.__dataclass_fields__})
