"""Negative sampling: items that a user did not touch."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import DataError, message

__all__ = ["UniformNegatives"]


class UniformNegatives:
    """One item for each asked user, uniform over those that the user did not touch.

    A rank among the user's untouched items is drawn, and one binary search finds how many touched ones stand before
    it; so there is nothing to reject, and a user who touched nearly everything takes no longer.

    Args:
        n_users, n_items: sizes.
        users, items: the training pairs, ``(E,)`` int each; repeated ones count once.
    """

    def __init__(self, n_users: int, n_items: int, users: Tensor, items: Tensor) -> None:
        self.n_items = n_items
        pairs = torch.unique_consecutive((users.cpu().long() * n_items + items.cpu()).sort().values)
        owners = pairs // n_items
        counts = torch.bincount(owners, minlength=n_users)
        self._free = n_items - counts
        self._starts = counts.cumsum(0) - counts
        # Before a user's k-th touched item t stand t - k untouched ones: ascending, and at most n_items.
        untouched = pairs % n_items - (torch.arange(len(pairs)) - self._starts[owners])
        self._keys = owners * (n_items + 1) + untouched

    def __call__(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Items ``(B,)`` int64 for users ``(B,)``, on their device; a function of the generator (of the CPU).

        Raises:
            DataError: a user who touched every item.
        """
        asked = users.cpu().long()
        free = self._free[asked]
        if bool((free == 0).any()):
            found = f"user {int(asked[free == 0][0])}, who touched all {self.n_items} items"
            raise DataError(message("users", found, "users with an item left", "Drop this user or add items."))
        ranks = torch.randint(2**62, asked.shape, generator=generator) % free
        place = torch.searchsorted(self._keys, asked * (self.n_items + 1) + ranks, right=True)
        return (ranks + place - self._starts[asked]).to(users.device)
