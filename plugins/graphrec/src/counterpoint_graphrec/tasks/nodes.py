"""What was learnt of users and items, as arrays: scores, newcomers, and what each item adds to a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ShapeError, message


@dataclass(frozen=True)
class Nodes:
    """Users, items and the graph between them: ``U`` users, ``M`` items, ``D`` dimensions.

    Propagation makes a user of two parts: its own embedding before the first layer, and the sum of what its items send,
    ``e_u = own_u + sum_{i in S_u} f_i / sqrt(|S_u|)``. The second part is known for anybody whose items are known:
    a newcomer is made of it, and a score is explained by it.

    Attributes:
        items: ``(M, D)``.
        users: ``(U, D)``.
        folds: ``(M, D)`` the vectors ``f``, or None where the encoder does not propagate (matrix factorisation).
        history: ``(U, M)`` of ones, the training interactions: what the vectors were learnt from.
        known: ``(U, M)`` of ones, everything that users are known to have, held-out interactions too.

    Raises:
        ShapeError: shapes that do not fit together.
    """

    items: Tensor
    users: Tensor
    folds: Tensor | None
    history: csr_array
    known: csr_array

    def __post_init__(self) -> None:
        if self.items.dim() != 2 or not len(self.items):
            raise ShapeError(message("items", f"shape {tuple(self.items.shape)}", "(M, D) with M of at least 1"))
        wanted = len(self.users), len(self.items)
        dim = self.items.shape[1]
        for name, found, shape in (
            ("users", self.users.shape, (wanted[0], dim)),
            ("folds", self.items.shape if self.folds is None else self.folds.shape, (wanted[1], dim)),
            ("history", self.history.shape, wanted),
            ("known", self.known.shape, wanted),
        ):
            if tuple(found) != shape:
                raise ShapeError(message(name, f"shape {tuple(found)}", f"{shape}"))

    @cached_property
    def popularity(self) -> np.ndarray:
        """``(M,)`` int64: how many users touched each item in training."""
        counts: np.ndarray = np.bincount(self.history.indices, minlength=len(self.items)).astype(np.int64)
        return counts

    @cached_property
    def unit(self) -> Tensor:
        """``(M, D)`` items of length 1."""
        return F.normalize(self.items, dim=1)

    @cached_property
    def columns(self) -> csr_array:
        """``(M, U)``: the users of each item in training."""
        return csr_array(self.history.T)

    def had(self, user: int) -> np.ndarray:
        """Items of a user in training."""
        items: np.ndarray = self.history.indices[self.history.indptr[user] : self.history.indptr[user + 1]]
        return items

    def has(self, user: int) -> np.ndarray:
        """Everything that a user is known to have."""
        items: np.ndarray = self.known.indices[self.known.indptr[user] : self.known.indptr[user + 1]]
        return items

    def newcomer(self, items: Sequence[int]) -> Tensor:
        """``(D,)``: somebody with these items and nothing else; without ``folds`` the mean of the unit items."""
        rows = torch.as_tensor(np.asarray(items, dtype=np.int64))
        if self.folds is None:
            return self.unit[rows].mean(dim=0)
        vector: Tensor = self.folds[rows].sum(dim=0) / len(rows) ** 0.5
        return vector

    def shared(self, item: int, targets: Sequence[int]) -> list[int]:
        """How many users touched both ``item`` and each of the targets."""
        users = np.zeros(len(self.users))
        users[self.columns.indices[self.columns.indptr[item] : self.columns.indptr[item + 1]]] = 1
        counts = self.columns[np.asarray(targets, dtype=np.int64)] @ users
        return [int(count) for count in counts]
