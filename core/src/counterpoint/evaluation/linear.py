"""Linear probe: logistic regression on frozen features, its penalty chosen on rows that are not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation._logistic import Array, Labels, Logistic, Standardizer, choose

GRID = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
"""Values of C that are tried."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a linear probe found.

    Attributes:
        predictions: ``(M,)`` int64 class indices.
        C: the inverse penalty that was used.
        converged: False where L-BFGS stopped at ``max_iter``: the features are badly scaled or collapsed.
    """

    predictions: Tensor
    C: float
    converged: bool


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    *,
    val: tuple[Tensor, Tensor] | None = None,
    grid: Sequence[float] = GRID,
    max_iter: int = 1000,
    seed: int = 0,
) -> Probe:
    """Predict ``features`` by L-BFGS logistic regression on standardised train features.

    With ``val``, C is chosen there and the probe is fitted again on train and val. Without, every fifth train row of
    each class is held out to choose C and the probe is fitted again on the whole of train: never give the rows that
    are to be measured as ``val``.

    Args:
        train_features: ``(N, D)``; mean and std of its rows standardise all others.
        train_labels: ``(N,)`` class indices; rows with -1 are left out.
        features: ``(M, D)``.
        val: features and labels that may be used to choose C.
        grid: values of C; one value is used without choice.
        max_iter: of L-BFGS.
        seed: of the held-out rows.

    Raises:
        ShapeError: shapes that do not fit, no labelled train row, a row with NaN or infinity.
        ConfigError: an empty grid or a C that is not > 0.
    """
    train, y = labelled("train_", train_features, train_labels)
    queries = _check.features("features", features, dim=train.shape[1])
    _check_grid(grid)
    scale = Standardizer.fit(train)
    x = scale(train)
    if val is not None:
        held, held_y = labelled("val_", *val, dim=train.shape[1], least=0)
        fitting, choosing = (x, y), (scale(held), held_y)
        final = (np.concatenate([x, choosing[0]]), np.concatenate([y, held_y]))
    else:
        fitting, choosing = _hold_out(x, y, seed)
        final = (x, y)
    some = len(choosing[1]) > 0 and len(grid) > 1
    c = choose(fitting, choosing, grid, max_iter) if some else sorted(grid)[len(grid) // 2]
    model = Logistic(max_iter).fit(*final, c)
    return Probe(torch.from_numpy(model.predict(scale(queries))).long(), float(c), model.converged)


def labelled(
    prefix: str, features: Tensor, labels: Tensor, dim: int | None = None, least: int = 1
) -> tuple[Tensor, Labels]:
    """The checked rows whose label is known.

    Raises:
        ShapeError: fewer than ``least`` of them, or shapes that do not fit.
    """
    x = _check.features(f"{prefix}features", features, dim=dim)
    y = _check.labels(f"{prefix}labels", labels, x.shape[0])
    x, y = _check.known(x, y)
    if len(y) < least:
        raise ShapeError(message(f"{prefix}labels", f"{len(y)} known labels", f"at least {least} label >= 0"))
    return x, y.cpu().numpy()


def _check_grid(grid: Sequence[float]) -> None:
    if len(grid) == 0:
        raise ConfigError(message("grid", "no value", "one or more values of C > 0"))
    for c in grid:
        _check.positive("grid", c, finite=True)


def _hold_out(x: Array, y: Labels, seed: int) -> tuple[tuple[Array, Labels], tuple[Array, Labels]]:
    """A fifth of each class, drawn by ``seed``; a class with fewer than five rows (two at least) gives one."""
    draw = np.random.default_rng(seed)
    held = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        count = max(len(rows) // 5, 1) if len(rows) > 1 else 0
        held[draw.permutation(rows)[:count]] = True
    return (x[~held], y[~held]), (x[held], y[held])
