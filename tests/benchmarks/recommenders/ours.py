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


def words(model: str, seed: int) -> list[str]:
    """Options of ``counterpoint pretrain``."""
    layers = {} if model == "BPR" else {"encoder.layers": LAYERS}
    own = {f"method.{name}": value for name, value in CONTRAST.get(model, {}).items()}
    shared = {"encoder.dim": DIM, "method.regularisation": DECAY, "optimization.lr": RATE, "batch_size": BATCH}
    options = {**layers, **shared, **own, "seed": seed, "data": Path("split.npz").resolve()}
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


class Ours(Case):
    """BPR-MF, LightGCN, SGL, SimGCL or XSimGCL."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        super().__init__(model, split, seed)
        split.save(Path("split.npz"))
        self._begin()

    def _begin(self) -> None:
        torch.manual_seed(self.seed)
        config = configs.parse(words(self.model, self.seed))
        self._settings = settings_of(config)
        self._built = configs.instantiate(config)
        self._built.method.optimization = partial(configure, optimization=self._built.optimization)

    def _fit(self, epochs: int, steps: int, clock: Clock) -> None:
        dataset = self._built.dataset
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            limit_train_batches=steps,
            logger=False,
            callbacks=[Marks(clock)],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self._built.method, RunData(dataset, self._built.views, dataset.splits()["train"], self._settings))

    def epoch(self, steps: int) -> dict[str, float]:
        clock = Clock()
        self._fit(1, min(steps, len(self.split.train) // BATCH), clock)
        return clock.seconds(self.split.steps)

    def train(self, epochs: int) -> None:
        self._begin()
        self._fit(epochs, len(self.split.train) // BATCH, Clock())

    def rank(self) -> float:
        dataset = self._built.dataset
        seen = dataset.matrix("train") + dataset.matrix("val")
        encoder = self._built.encoder.eval()
        with torch.no_grad():
            found = full_ranking(dot_scores(*encoder.nodes()), seen, dataset.matrix("test"), 20)
        return float(found.recall(20).mean())

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            users, items = self._built.encoder.eval().nodes()
        return users.numpy(), items.numpy()


CASE = Ours
