"""Classes from a few labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation.fewshot import SHOTS, few_shot
from counterpoint.parts import Task


class FewLabels(Task):
    """Logistic regression on frozen features, for when most images have no label.

    Features are standardised by all rows that `fit` gets, labelled or not, and the penalty is fixed: with a handful of
    labels there is none to spare for choosing it.

    Args:
        shots: labelled images per class at which `evaluate` measures; by default those of 1, 5, 10 and 20 that the
            smallest class allows.
        draws: how often these are drawn anew.
        C: inverse strength of the L2 penalty.
        seed: of the draws.
    """

    def __init__(self, shots: Sequence[int] | None = None, draws: int = 10, C: float = 1.0, seed: int = 0) -> None:
        if not C > 0:
            raise ConfigError(message("C", C, "a number > 0"))
        self.shots, self.draws, self.C, self.seed = shots, draws, C, seed
        self._train: tuple[Tensor, Tensor] | None = None

    def fit(self, features: Tensor, labels: Tensor | None = None) -> FewLabels:
        """Keep ``(N, D)`` features and ``(N,)`` labels, -1 where unknown.

        Raises:
            ShapeError: no labels, or none that is known.
        """
        if labels is None or not (labels >= 0).any():
            raise ShapeError(message("labels", "none", "at least one label >= 0", "Label a few images of each class."))
        self._train = features, labels
        return self

    def predict(self, features: Tensor) -> Tensor:
        """Class ``(M,)`` of each row, learnt from every label that `fit` was given."""
        train, labels = self._fitted()
        known = labels >= 0
        classes = np.unique(labels[known].numpy())
        if len(classes) == 1:
            return torch.full((len(features),), int(classes[0]))
        std, mean = torch.std_mean(train.double(), dim=0, correction=0)  # of all rows: these need no label
        std = torch.where(std > 1e-7 * mean.abs(), std, torch.inf)
        model = LogisticRegression(C=self.C, max_iter=1000)
        model.fit(((train[known] - mean) / std).numpy(), labels[known].numpy())
        return torch.from_numpy(model.predict(((features - mean) / std).numpy())).long()

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Accuracies with k labels per class, and with all labels; rows with label -1 do not count.

        Returns:
            ``few_shot[k=5,draws=10]``: mean over the draws; ``few_shot_ci95[k=5,draws=10]``: half the width of its
            95 % interval; ``few_labels[n=200]``: with all ``n`` labels that `fit` was given.
        """
        train, known = self._fitted()
        metrics: dict[str, float] = {}
        for k in self._allowed(known):
            summary = few_shot(train, known, features, labels, k=k, draws=self.draws, C=self.C, seed=self.seed)
            protocol = f"[k={k},draws={self.draws}]"
            metrics[f"few_shot{protocol}"], metrics[f"few_shot_ci95{protocol}"] = summary.mean, summary.half
        measured = labels >= 0
        right = self.predict(features)[measured] == labels[measured]
        metrics[f"few_labels[n={int((known >= 0).sum())}]"] = float(right.double().mean())
        return metrics

    def _allowed(self, labels: Tensor) -> Sequence[int]:
        if self.shots is not None:
            return self.shots
        smallest = int(np.unique(labels[labels >= 0].numpy(), return_counts=True)[1].min())
        return [k for k in SHOTS if k <= smallest]

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self._train is None:
            raise ConfigError(
                message("FewLabels", "no labels yet", "fit before predict", "Call fit(features, labels).")
            )
        return self._train
