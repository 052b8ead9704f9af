"""Counterpoint by its own recipe and trainer: what `counterpoint pretrain` runs, without its report and checkpoints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, Trainer

from counterpoint.evaluation.ranking import dot_scores, full_ranking
from counterpoint.training import config as configs
from counterpoint.training.data import RunData
from counterpoint.training.optimizers import configure
from counterpoint.training.settings import settings_of
from recommenders.case import BATCH, CONTRAST, DECAY, DIM, LAYERS, RATE, Case, Clock, Split

RECIPES = {"BPR": "bprmf", "LightGCN": "lightgcn", "SGL": "sgl", "SimGCL": "simgcl", "XSimGCL": "xsimgcl"}


def words(model: str, pairs: Path, seed: int) -> list[str]:
    """Options of ``counterpoint pretrain``."""
    layers = {} if model == "BPR" else {"encoder.layers": LAYERS}
    own = {f"method.{name}": value for name, value in CONTRAST.get(model, {}).items()}
    decay = {"method.regularisation": "framework", "method.lambda2": DECAY}
    shared = {"encoder.dim": DIM, "optimization.lr": RATE, "batch_size": BATCH, "seed": seed}
    options = {**layers, **shared, **own, **decay, "data": pairs}
    return [f"graphrec/{RECIPES[model]}", *(f"--{name}={value}" for name, value in options.items())]


class Marks(Callback):
    """Tells a clock when an epoch begins, when its first batch is there, and when a step is done."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, *_: Any) -> None:
        self.clock.begin()

    def on_train_batch_start(self, *_: Any) -> None:
        self.clock.batch()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.clock.end()


class Built:
    """What a recipe makes of an archive of pairs, and the trainer for it."""

    def __init__(self, model: str, pairs: Path, seed: int) -> None:
        torch.manual_seed(seed)
        config = configs.parse(words(model, pairs, seed))
        self.settings, built = settings_of(config), configs.instantiate(config)
        self.dataset, self.views, self.method, self.encoder = built.dataset, built.views, built.method, built.encoder
        self.method.optimization = partial(configure, optimization=built.optimization)

    def fit(self, epochs: int, steps: int, clock: Clock, *callbacks: Callback) -> None:
        """Train ``steps`` steps of each of ``epochs`` epochs."""
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            limit_train_batches=steps,
            logger=False,
            callbacks=[Marks(clock), *callbacks],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self.method, RunData(self.dataset, self.views, self.dataset.splits()["train"], self.settings))


class Ours(Case):
    """BPR-MF, LightGCN, SGL, SimGCL or XSimGCL."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        super().__init__(model, split, seed)
        self._pairs = split.save(Path("split.npz").resolve())
        self._steps = len(split.train) // BATCH
        self.built = Built(model, self._pairs, seed)

    def epoch(self, steps: int) -> dict[str, float]:
        clock = Clock()
        self.built.fit(1, min(steps, self._steps), clock)
        return clock.seconds(self.split.steps)

    def train(self, epochs: int) -> None:
        self.built = Built(self.model, self._pairs, self.seed)
        self.built.fit(epochs, self._steps, Clock())

    def rank(self) -> float:
        dataset = self.built.dataset
        seen = dataset.matrix("train") + dataset.matrix("val")
        with torch.no_grad():
            found = full_ranking(dot_scores(*self.built.encoder.eval().nodes()), seen, dataset.matrix("test"), 20)
        return float(found.recall(20).mean())

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            users, items = self.built.encoder.eval().nodes()
        return users.detach().numpy(), items.detach().numpy()


CASE = Ours
