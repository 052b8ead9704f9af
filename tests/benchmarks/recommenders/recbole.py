"""RecBole 1.2.1 on the current torch and numpy.

It needs four stand-ins there: ``ray.tune`` is imported with the package (and ``ray<=2.6.3`` no longer installs),
``np.float_`` and other names of numpy 1, ``dok_matrix._update`` of old scipy, and ``torch.load`` without
``weights_only``. Models, loaders, trainer and evaluator are its own. It ranks all users at once, which is quicker than
its default of a few.
"""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from recommenders.case import BATCH, CONTRAST, DECAY, DIM, LAYERS, RATE, Case, Clock, Split, scattered


def stand_ins() -> None:
    """Put back what RecBole expects."""
    ray = types.ModuleType("ray")
    ray.tune = types.ModuleType("ray.tune")  # type: ignore[attr-defined]
    sys.modules |= {"ray": ray, "ray.tune": ray.tune}
    for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "bool8": np.bool_}.items():
        setattr(np, name, kind)
    scipy.sparse.dok_matrix._update = lambda self, data: self._dict.update(data)
    torch.load = partial(torch.load, weights_only=False)


stand_ins()
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402


def settings(model: str) -> dict[str, Any]:
    own: dict[str, Any] = {"BPR": {}, "LightGCN": {"n_layers": LAYERS, "reg_weight": DECAY}}.get(model) or {}
    if model == "SGL":
        asked = CONTRAST["SGL"]
        own = {"type": "ED", "n_layers": LAYERS, "drop_ratio": asked["drop"], "ssl_tau": asked["temperature"]}
        own |= {"ssl_weight": asked["weight"], "reg_weight": DECAY}
    files = {"data_path": str(Path.cwd()), "benchmark_filename": ["train", "valid", "test"], "checkpoint_dir": "saved"}
    columns = {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "load_col": {"inter": ["user", "item"]}}
    training = {"embedding_size": DIM, "train_batch_size": BATCH, "learning_rate": RATE, "eval_batch_size": 4_000_000}
    ranking = {"eval_args": {"group_by": "user", "order": "RO", "mode": "full"}, "metrics": ["Recall"], "topk": [20]}
    quiet = {"use_gpu": False, "show_progress": False, "state": "WARNING", "valid_metric": "Recall@20"}
    return {**files, **columns, **training, **ranking, **quiet, **own}


class First:
    """A data loader that stops early."""

    def __init__(self, loader: Any, clock: Clock, steps: int) -> None:
        self._loader, self._clock, self._steps = loader, clock, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return self._clock.limit(self._loader, self._steps)


class RecBole(Case):
    """Its BPR, LightGCN or SGL."""

    def __init__(self, model: str, split: Split, seed: int) -> None:
        super().__init__(model, split, seed)
        folder = Path("split")
        folder.mkdir(exist_ok=True)
        for name, pairs in (("train", split.train), ("valid", split.val), ("test", split.test)):
            text = "user:token\titem:token\n" + "".join(f"{u}\t{i}\n" for u, i in pairs.tolist())
            (folder / f"split.{name}.inter").write_text(text)
        sys.argv = sys.argv[:1]
        self._config = Config(model=model, dataset="split", config_dict={**settings(model), "seed": seed})
        logging.disable()
        dataset = create_dataset(self._config)
        self._train, _, self._test = data_preparation(self._config, dataset)
        self._begin()

    def _begin(self) -> None:
        init_seed(self.seed, True)
        network = get_model(self.model)(self._config, self._train._dataset)
        self._trainer = get_trainer(self._config["MODEL_TYPE"], self.model)(self._config, network)

    def epoch(self, steps: int) -> dict[str, float]:
        clock = Clock()
        self._trainer._train_epoch(First(self._train, clock, steps), 0)
        return clock.seconds(self.split.steps)

    def train(self, epochs: int) -> None:
        self._begin()
        for number in range(epochs):
            self._trainer._train_epoch(self._train, number)

    def rank(self) -> float:
        self._trainer.model.restore_user_e = self._trainer.model.restore_item_e = None
        return float(self._trainer.evaluate(self._test, load_best_model=False)["recall@20"])

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        network: Any = self._trainer.model
        with torch.no_grad():
            if self.model == "BPR":
                users, items = network.user_embedding.weight, network.item_embedding.weight
            else:
                users, items = network.forward(*([network.train_graph] if self.model == "SGL" else []))
        return self._rows(users, "user", self.split.n_users), self._rows(items, "item", self.split.n_items)

    def _rows(self, embeddings: torch.Tensor, field: str, total: int) -> np.ndarray:
        names = self._train._dataset.field2id_token[field]  # the first is the padding's
        return scattered(embeddings[1:].detach().numpy(), names[1:].astype(np.int64), total)


CASE = RecBole
