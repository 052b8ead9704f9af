"""Recommenders without an encoder, which an encoder must beat: the most popular, item kNN, EASE.

Each is made of the training interactions alone, and gives the scores that `counterpoint.evaluation.ranking` ranks by.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from counterpoint.evaluation._topk import topk
from counterpoint.evaluation.ranking import Scores

NEIGHBOURS = (20, 50, 100, 200)
"""Neighbours of an item that kNN is tried with."""
PENALTIES = (30.0, 100.0, 300.0, 1000.0)
"""Ridge penalties that EASE is tried with."""
_VALUES = 4_000_000
"""Similarities held at a time."""


def popularity(train: csr_array) -> Scores:
    """Every item by its number of training interactions, the same for everybody."""
    counts = torch.from_numpy(np.bincount(train.indices, minlength=train.shape[1])).float()
    return lambda rows, columns: counts[columns].repeat(len(rows), 1)


class ItemNeighbours:
    """Cosine of the items' columns; a score is the sum over the user's items that are among the item's ``k`` nearest.

    Time and memory: that of all pairs of items, in tiles; what is kept is ``M x k``.

    Args:
        train: ``(N, M)`` interactions.
        most: neighbours kept of each item; `scores` takes this many or fewer.
    """

    def __init__(self, train: csr_array, most: int = max(NEIGHBOURS)) -> None:
        self.train = csr_array(train, dtype=np.float32)
        n_items = train.shape[1]
        self.most = min(most, n_items)
        norms = np.sqrt(np.bincount(train.indices, minlength=n_items))
        unit = csr_array(self.train @ diags_array((1 / np.maximum(norms, 1)).astype(np.float32)))
        rows, size = csr_array(unit.T), max(1, _VALUES // n_items)
        found = [self._nearest(rows, unit, start, size) for start in range(0, n_items, size)]
        self._values, self._items = (np.concatenate(parts) for parts in zip(*found))

    def _nearest(
        self, rows: csr_array, unit: csr_array, start: int, size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        cosine = torch.from_numpy((rows[start : start + size] @ unit).toarray())
        cosine[torch.arange(len(cosine)), torch.arange(start, start + len(cosine))] = 0.0  # nobody's own neighbour
        values, items = topk(cosine, self.most)
        return values.numpy(), items.numpy()

    def scores(self, k: int) -> Scores:
        """Scores by the ``k`` nearest neighbours."""
        n_items, k = len(self._items), min(k, self.most)
        place = np.arange(0, n_items * k + 1, k)
        weights = csr_array((self._values[:, :k].ravel(), self._items[:, :k].ravel(), place), shape=(n_items, n_items))
        tiles: dict[tuple[int, int], csr_array] = {}  # turned round once, not for every block of users

        def score(rows: Tensor, columns: slice) -> Tensor:
            tile = (columns.start, columns.stop)
            if tile not in tiles:
                tiles[tile] = csr_array(weights[columns].T)
            return torch.from_numpy((self.train[rows.numpy()] @ tiles[tile]).toarray())

        return score


class Ease:
    """Ridge regression of every item on all others in closed form: ``B = I - P / diag(P)``, ``P = (X^T X + l I)^-1``.

    Memory ``O(M^2)`` and time ``O(M^3)`` for each penalty.

    Args:
        train: ``(N, M)`` interactions.

    Source: Steck 2019 (EASE), eq. 8.
    """

    def __init__(self, train: csr_array) -> None:
        self.train = csr_array(train, dtype=np.float32)
        self._gram = torch.from_numpy((self.train.T @ self.train).toarray())

    def scores(self, penalty: float) -> Scores:
        """Scores by the weights that ``penalty`` > 0 gives."""
        gram = self._gram.clone()
        gram.diagonal().add_(penalty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        weights = (inverse / -inverse.diagonal()).fill_diagonal_(0.0).numpy()
        return lambda rows, columns: torch.from_numpy(self.train[rows.numpy()] @ weights[:, columns])
