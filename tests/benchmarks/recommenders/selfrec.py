"""SELFRec (github.com/Coder-Yu/SELFRec) from a checkout at ``$COUNTERPOINT_SELFREC``, unchanged but for ``.cuda()``.

It brings no licence, so nothing of it is here: this drives its classes from outside. Its training loop runs as it is;
its batches are handed out by a generator that stops after as many as are asked for, and its evaluation after every
epoch, which chooses the epoch on the *test* set, is left out: the last epoch counts.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from typing import Any

import numpy as np
import torch

from recommenders.case import BATCH, CONTRAST, DECAY, DIM, LAYERS, RATE, Case, Clock, Split, scattered

sys.path.insert(0, os.environ["COUNTERPOINT_SELFREC"])
torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
EVALUATION: Any = importlib.import_module("util.evaluation")
importlib.import_module("base.graph_recommender")


class Settings(dict[str, Any]):
    """What SELFRec reads from a YAML file."""

    @property
    def config(self) -> dict[str, Any]:
        return self

    def contain(self, key: str) -> bool:
        return key in self


def settings(model: str) -> Settings:
    own: dict[str, Any] = {"n_layer": LAYERS}
    for ours, theirs in (("weight", "lambda"), ("eps", "eps"), ("temperature", "tau"), ("drop", "drop_rate")):
        if ours in CONTRAST.get(model, {}):
            own[theirs] = CONTRAST[model][ours]
    own |= {"XSimGCL": {"l_star": 1}, "SGL": {"aug_type": 1, "temp": own.get("tau")}}.get(model, {})
    shared = {"embedding.size": DIM, "max.epoch": 1, "batch.size": BATCH, "learning.rate": RATE, "reg.lambda": DECAY}
    files = {"training.set": "train", "test.set": "test", "output": "./results/", "item.ranking.topN": [10, 20]}
    return Settings({**files, **shared, "model": {"name": model, "type": "graph"}, model: own})


class SELFRec(Case):
    """Its LightGCN, SGL, SimGCL or XSimGCL."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        super().__init__(model, split, seed)
        self._module: Any = importlib.import_module(f"model.graph.{model}")
        self._batches = self._module.next_batch_pairwise
        self._begin()

    def _begin(self) -> None:
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        triples = [[[str(u), str(i), 1.0] for u, i in pairs.tolist()] for pairs in (self.split.train, self.split.test)]
        self._own = getattr(self._module, self.model)(settings(self.model), *triples)
        self._own.fast_evaluation = lambda epoch: None
        self._own.build()

    def _train(self) -> None:
        self._own.save()  # its loop ends with going back to a "best" epoch
        self._own.train()
        self._own.save()
        self._own.user_emb, self._own.item_emb = self._own.best_user_emb, self._own.best_item_emb

    def epoch(self, steps: int) -> dict[str, float]:
        clock = Clock()
        self._module.next_batch_pairwise = lambda *arguments: clock.limit(self._batches(*arguments), steps)
        self._own.maxEpoch = 1
        self._train()
        return clock.seconds(self.split.steps)

    def train(self, epochs: int) -> None:
        self._begin()
        self._module.next_batch_pairwise = self._batches
        self._own.maxEpoch = epochs
        self._train()

    def rank(self) -> float:
        told = EVALUATION.ranking_evaluation(self._own.data.test_set, self._own.test(), [20])
        return next(float(line.split(":")[1]) for line in told if line.startswith("Recall"))

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        users, items = (np.array([int(name) for name in names]) for names in (self._own.data.user, self._own.data.item))
        found = self._own.user_emb.detach().numpy(), self._own.item_emb.detach().numpy()
        return scattered(found[0], users, self.split.n_users), scattered(found[1], items, self.split.n_items)


CASE = SELFRec
