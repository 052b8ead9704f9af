"""Floors that an encoder must beat: the raw input, and its principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.evaluation import _check

COMPONENTS = 128
"""Principal components at most."""


def raw(batch: Any) -> Tensor:
    """The input itself as features: ``(N, ...)`` -> ``(N, D)`` float32.

    Raises:
        ShapeError: not at least two-dimensional, or a row with NaN or infinity.
    """
    x = torch.as_tensor(batch)
    if x.ndim < 2:
        raise ShapeError(message("batch", f"shape {tuple(x.shape)}", "(N, ...), one row per sample"))
    return _check.features("batch", x.flatten(start_dim=1), dtype=torch.float32)


class Pca:
    """Principal components of train rows (centred, not whitened), by a fixed seed where they are found by iteration.

    Args:
        train: ``(N, D)`` rows to fit on.
        components: at most this many; fewer where ``N`` or ``D`` is smaller.

    Raises:
        ShapeError: fewer than two rows, or a row with NaN or infinity.
    """

    def __init__(self, train: Tensor, components: int = COMPONENTS) -> None:
        x = _check.features("train", train, dtype=torch.float32)
        _check.rows("train", x, 2, "A principal component needs two rows.")
        _check.at_least("components", components)
        self._dim = x.shape[1]
        with np.errstate(invalid="ignore"):  # constant rows have no variance to take shares of
            self._model = PCA(min(components, *x.shape), random_state=0).fit(x.cpu().numpy())

    def __call__(self, features: Tensor) -> Tensor:
        """``(M, D)`` -> ``(M, components)`` float32."""
        x = _check.features("features", features, dim=self._dim, dtype=torch.float32)
        if len(x) == 0:
            return torch.empty(0, self._model.n_components_)
        return torch.from_numpy(self._model.transform(x.cpu().numpy())).float()


def pca(train: Tensor, features: Tensor, components: int = COMPONENTS) -> Tensor:
    """``features`` in the principal components of ``train``: ``(M, D)`` -> ``(M, components)``; see `Pca`.

    For several splits fit once: ``reduce = Pca(train)``.
    """
    return Pca(train, components)(features)
