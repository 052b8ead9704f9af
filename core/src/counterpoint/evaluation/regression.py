"""Numbers predicted from features: the measures of regression, and the linear map of least absolute error."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation._logistic import Standardizer

RIDGE = 1e-3
"""Penalty of the linear map on standardised features, so that collinear ones have an answer."""
ITERATIONS, SMALLEST = 50, 1e-4


def regression_metrics(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """How far predictions are from targets, and how well they order them.

    Args:
        predictions: ``(M,)``.
        targets: ``(M,)``; rows whose target is NaN are left out.

    Returns:
        ``mae``, ``rmse`` and ``gmae`` (geometric mean of the absolute errors, each 1e-5 at least) in the unit of the
        targets; ``r2``, 1 minus the squared error's share of the variance, at most 1; ``pearson`` and ``spearman``
        correlation, -1 to 1, NaN where either side is constant.

    Raises:
        ShapeError: shapes that differ, no known target, or a prediction that is not finite.
    """
    if predictions.ndim != 1 or predictions.shape != targets.shape:
        found = f"shape {tuple(predictions.shape)} beside targets {tuple(targets.shape)}"
        raise ShapeError(message("predictions", found, "(M,) both"))
    known = ~torch.isnan(targets)
    answer, truth = (x[known].detach().cpu().double().numpy() for x in (predictions, targets))
    if not len(truth) or not np.isfinite(answer).all():
        found = "a prediction that is not finite" if len(truth) else "no known target"
        raise ShapeError(message("predictions", found, "finite numbers, and one known target at least"))
    error = np.abs(answer - truth)
    spread = float(((truth - truth.mean()) ** 2).mean())
    varied = len(truth) > 1 and np.ptp(answer) > 0 and np.ptp(truth) > 0
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "gmae": float(np.exp(np.log(np.maximum(error, 1e-5)).mean())),
        "r2": 1 - float((error**2).mean()) / spread if spread > 0 else float("nan"),
        "pearson": float(stats.pearsonr(answer, truth).statistic) if varied else float("nan"),
        "spearman": float(stats.spearmanr(answer, truth).statistic) if varied else float("nan"),
    }


def l1_regression(features: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Weight ``(D,)`` and bias of the linear map with the least mean absolute error on these rows.

    By iteratively reweighted least squares on standardised features: a row counts by 1 / its error, which makes squares
    absolute values. ``O(N D^2)`` an iteration, of which there are 50 at most.

    Args:
        features: ``(N, D)``.
        targets: ``(N,)``; rows whose target is NaN are left out.

    Raises:
        ShapeError: shapes that do not fit, no known target, or a row with NaN or infinity.
    """
    rows = _check.features("features", features)
    if targets.shape != rows.shape[:1]:
        raise ShapeError(message("targets", f"shape {tuple(targets.shape)}", f"({len(rows)},)"))
    known = ~torch.isnan(targets.cpu())
    if not bool(known.any()):
        raise ShapeError(message("targets", "no known one", "one at least"))
    rows, y = rows.cpu()[known], targets.cpu()[known].double().numpy()
    scale = Standardizer.fit(rows)
    x = np.concatenate([scale(rows).astype(np.float64), np.ones((len(y), 1))], axis=1)
    unit = y.std() or 1.0
    solution = _least_absolute(x, (y - y.mean()) / unit) * unit
    weight = torch.from_numpy(solution[:-1]) * scale.used / scale.std  # standardising is a linear map itself
    return weight.float(), float(y.mean() + solution[-1] - scale.mean @ weight)


def _least_absolute(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(D + 1,)`` coefficients; the last column of ``x`` is 1 and is not penalised."""
    penalty = np.full(x.shape[1], RIDGE * len(y))
    penalty[-1] = 0.0
    weight = np.ones(len(y))
    solution = np.zeros(x.shape[1])
    for _ in range(ITERATIONS):
        weighted = x * weight[:, None]
        found = np.linalg.solve(x.T @ weighted + np.diag(penalty) + 1e-10 * np.eye(x.shape[1]), weighted.T @ y)
        moved = float(np.abs(found - solution).max())
        solution = found
        if moved < SMALLEST:
            break
        weight = 1 / np.maximum(np.abs(y - x @ solution), SMALLEST)
        weight /= weight.mean()
    result: np.ndarray = solution
    return result
