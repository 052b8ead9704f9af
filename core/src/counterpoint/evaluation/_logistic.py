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

    ``C`` is the inverse strength of the L2 penalty. Several values are fitted from strong to weak penalty, each from
    the last one's weights, which is faster and ends in the same optimum (the problem is convex).
    """

    def __init__(self, max_iter: int = 1000) -> None:
        self._model = LogisticRegression(max_iter=max_iter, warm_start=True)
        self._only: int | None = None
        self.converged = True

    def fit(self, x: Array, y: Labels, C: float) -> Logistic:
        """Fit on ``(N, D)`` standardised rows and ``(N,)`` class indices."""
        if y.min() == y.max():
            self._only = int(y[0])
            return self
        self._model.C = C
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._model.fit(x, y)
        for warning in caught:
            if not issubclass(warning.category, ConvergenceWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        self.converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        return self

    def predict(self, x: Array) -> Labels:
        """Class indices ``(M,)``."""
        if self._only is not None or len(x) == 0:
            return np.full(len(x), self._only or 0, dtype=np.int64)
        predicted: Labels = self._model.predict(x)
        return predicted


def choose(train: tuple[Array, Labels], held: tuple[Array, Labels], grid: Sequence[float], max_iter: int) -> float:
    """The ``C`` with the best accuracy on the held-out rows; of equals the smallest (the strongest penalty)."""
    model = Logistic(max_iter)
    accuracy = {c: float((model.fit(*train, c).predict(held[0]) == held[1]).mean()) for c in sorted(grid)}
    return max(accuracy, key=lambda c: (accuracy[c], -c))
