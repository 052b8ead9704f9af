"""Features of a fixed subset, for the online monitors: the encoder as it is now, in eval mode, without a trace."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from counterpoint.methods.base import Method
from counterpoint.parts import Dataset, Views
from counterpoint.training.data import mix
from counterpoint.training.embedding import Embedded, embed, encode_with
from counterpoint.training.measures import undisturbed
from counterpoint.types import Damaged

LARGEST = {"train": 2000, "val": 1000}


class OnlineFeatures:
    """Callable ``split -> (features (N, D), labels (N,) or None)`` for the splits ``"train"`` and ``"val"``.

    The test split is sealed: it cannot be asked for here.

    Args:
        method: whose encoder is looked at.
        views: whose ``plain`` is used.
        dataset: samples; what is embedded are its `Dataset.entities`.
        seed: decides the subset.

    Attributes:
        damaged: split -> what of its subset could not be read when it was looked at last.
    """

    def __init__(self, method: Method, views: Views, dataset: Dataset, seed: int) -> None:
        self.method, self.views, self.dataset = method, views, dataset.entities()
        self.indices: dict[str, np.ndarray] = {}
        self.damaged: dict[str, list[Damaged]] = {}
        splits = self.dataset.splits()
        for split, largest in LARGEST.items():
            chosen = np.random.default_rng(mix(seed, "monitor", split)).permutation(splits[split])[:largest]
            self.indices[split] = np.sort(chosen)

    def __call__(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Features and labels of the split's subset, on the CPU."""
        found = self.embedded(split)
        return found.features, found.labels

    def embedded(self, split: str) -> Embedded:
        """All that is known of the split's subset."""
        encoder = self.method.encoder
        device = next(encoder.parameters()).device
        with undisturbed(encoder):
            found = embed(encode_with(encoder), self.views, self.dataset, self.indices[split].tolist(), device=device)
        self.damaged[split] = found.damaged
        return found
