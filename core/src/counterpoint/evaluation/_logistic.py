"""Logistic regression on standardised features: the one probe under `linear` and `fewshot`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

Array = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Standardizer:
    """``(x - mean) / std`` per dimension, from the train rows; a dimension that is constant there becomes 0.

    Attributes:
        mean: ``(D,)`` float64.
        std: ``(D,)`` float64, 1 where the train rows are constant.
        used: ``(D,)`` 1, and 0 where the train rows are constant.
    """

    mean: Tensor
    std: Tensor
    used: Tensor

    @classmethod
    def fit(cls, train: Tensor) -> Standardizer:
        """Statistics of ``(N, D)`` train rows (population std)."""
        x = train.double()
        mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
        # rounding leaves a constant column of value c with a std near 1e-16 c: noise that must not be blown up
        used = std > 1e-7 * mean.abs().clamp_min(1e-30)
        return cls(mean, torch.where(used, std, 1.0), used.double())

    def __call__(self, x: Tensor) -> Array:
        """Standardised rows as a float32 array."""
        rows: Array = ((x.double() - self.mean) / self.std * self.used).float().cpu().numpy()
        return rows


class Logistic:
    """Multinomial logistic regression by L-BFGS; with one class in the train rows it answers that class.

    ``C`` is the inverse strength of the L2 penalty. A model may be fitted again *on the same rows* with another C: it
    starts from the last weights, which is faster and ends in the same optimum (the problem is convex).

    With fewer rows than dimensions the optimum lies in the span of the rows, and the penalty does not change under
    rotation: so it is found in coordinates of that span.
    """

    def __init__(self, max_iter: int = 1000) -> None:
        self._model = LogisticRegression(max_iter=max_iter, warm_start=True)
        self._classes: Labels = np.zeros(0, dtype=np.int64)
        self._weights: Array = np.zeros((0, 0), dtype=np.float32)
        self.converged = True

    def fit(self, x: Array, y: Labels, C: float) -> Logistic:
        """Fit on ``(N, D)`` standardised rows and ``(N,)`` class indices."""
        self._classes = np.unique(y)
        if len(self._classes) == 1:
            return self
        self._model.C = C
        basis = np.linalg.qr(x.T)[0] if x.shape[0] < x.shape[1] else None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._model.fit(x if basis is None else x @ basis, y)
        for warning in caught:
            if not issubclass(warning.category, ConvergenceWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        self.converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        self._weights = self._model.coef_ if basis is None else self._model.coef_ @ basis.T
        return self

    def predict(self, x: Array) -> Labels:
        """Class indices ``(M,)``."""
        if len(self._classes) == 1:
            return np.full(len(x), self._classes[0], dtype=np.int64)
        logits = x @ self._weights.T + self._model.intercept_
        place = logits.argmax(axis=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(np.int64)
        predicted: Labels = self._classes[place]
        return predicted


def choose(train: tuple[Array, Labels], held: tuple[Array, Labels], grid: Sequence[float], max_iter: int) -> float:
    """The ``C`` with the best accuracy on the held-out rows; of equals the smallest (the strongest penalty)."""
    model = Logistic(max_iter)  # from strong to weak penalty, each from the last one's weights
    accuracy = {c: float((model.fit(*train, c).predict(held[0]) == held[1]).mean()) for c in sorted(grid)}
    return max(accuracy, key=lambda c: (accuracy[c], -c))
