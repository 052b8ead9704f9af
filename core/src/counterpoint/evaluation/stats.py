"""Mean, spread and paired comparison of a few runs, and the accuracies that they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message


@dataclass(frozen=True, slots=True)
class Summary:
    """A few values of one quantity: seeds, draws or episodes.

    Attributes:
        mean: their mean.
        std: sample standard deviation (divisor n - 1); NaN for one value.
        half: half the width of the confidence interval; NaN for one value.
        n: how many there are.
    """

    mean: float
    std: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if math.isnan(self.half) else f"{self.mean:.4f} ± {self.half:.4f}"


@dataclass(frozen=True, slots=True)
class Paired:
    """A method against its baseline on the same seeds.

    Attributes:
        difference: summary of ``method - baseline``, seed by seed.
        p: two-sided p-value of the paired t-test; NaN for one pair.
    """

    difference: Summary
    p: float

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out 0 (False for one pair)."""
        return self.difference.low > 0 or self.difference.high < 0


def _values(name: str, values: Sequence[float]) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise ShapeError(message(name, f"{values!r}", "one or more finite numbers"))
    return x


def summarize(values: Sequence[float], confidence: float = 0.95, normal: bool = False) -> Summary:
    """Mean and confidence interval ``mean ± t s / sqrt(n)``.

    Args:
        values: one or more finite numbers.
        confidence: in (0, 1).
        normal: use the normal quantile (1.96 at 95 %), the custom for hundreds of episodes, instead of Student's t.

    Raises:
        ShapeError: no value, or one that is not finite.
        ConfigError: a confidence outside (0, 1).
    """
    x = _values("values", values)
    if not 0 < confidence < 1:
        raise ConfigError(message("confidence", confidence, "a number between 0 and 1"))
    n = len(x)
    if n == 1:
        return Summary(float(x[0]), math.nan, math.nan, 1)
    upper = (1 + confidence) / 2
    quantile = stats.norm.ppf(upper) if normal else stats.t.ppf(upper, n - 1)
    std = float(x.std(ddof=1))
    return Summary(float(x.mean()), std, float(quantile) * std / math.sqrt(n), n)


def paired_difference(method: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Paired:
    """``method - baseline`` over the same seeds in the same order, with its t-interval and p-value.

    Raises:
        ShapeError: numbers of values that differ, no value, or one that is not finite.
    """
    a, b = _values("method", method), _values("baseline", baseline)
    if len(a) != len(b):
        raise ShapeError(message("baseline", f"{len(b)} values", f"{len(a)}, one per seed of the method"))
    summary = summarize((a - b).tolist(), confidence)
    if summary.n == 1:
        return Paired(summary, math.nan)
    if summary.std == 0:
        return Paired(summary, 1.0 if summary.mean == 0 else 0.0)
    t = summary.mean / (summary.std / math.sqrt(summary.n))
    return Paired(summary, float(2 * stats.t.sf(abs(t), summary.n - 1)))


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of rows that are right.

    Raises:
        ShapeError: no row, or shapes that differ.
    """
    _same_shape(predictions, labels)
    return float((predictions.cpu() == labels.cpu()).double().mean())


def balanced_accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur in ``labels`` of the share that is right: rare classes count as much.

    Raises:
        ShapeError: no row, or shapes that differ.
    """
    _same_shape(predictions, labels)
    right = (predictions.cpu() == labels.cpu()).double().numpy()
    _, place = np.unique(labels.cpu().numpy(), return_inverse=True)
    return float((np.bincount(place, weights=right) / np.bincount(place)).mean())


def _same_shape(predictions: Tensor, labels: Tensor) -> None:
    if predictions.ndim != 1 or predictions.shape != labels.shape or len(labels) == 0:
        found = f"shape {tuple(predictions.shape)} beside labels {tuple(labels.shape)}"
        raise ShapeError(message("predictions", found, "(M,) both, with M >= 1"))
