"""Negative sampling: items that a user did not touch."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import DataError, message

__all__ = ["UniformNegatives"]

ROUNDS = 8
"""Rounds of rejection before the rest is drawn by rank; each leaves a share of the user's density."""


class UniformNegatives:
    """One item for each asked user, uniform over those that the user did not touch.

    Args:
        n_users, n_items: sizes.
        users, items: the training pairs, ``(E,)`` int each.
    """

    def __init__(self, n_users: int, n_items: int, users: Tensor, items: Tensor) -> None:
        self.n_users, self.n_items = n_users, n_items
        self._keys = torch.unique(users.long().cpu() * n_items + items.long().cpu())
        counts = torch.bincount(self._keys // n_items, minlength=n_users)
        self._free = n_items - counts
        self._starts = counts.cumsum(0) - counts

    def __call__(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """``(B,)`` int64 items for ``(B,)`` users, on their device; a function of the generator (of the CPU).

        Raises:
            DataError: a user who touched every item.
        """
        asked = users.long().cpu()
        if bool((self._free[asked] == 0).any()):
            user = int(asked[self._free[asked] == 0][0])
            raise DataError(message("users", f"user {user}, who touched all {self.n_items} items", "an item left"))
        drawn = torch.randint(self.n_items, asked.shape, generator=generator)
        for _ in range(ROUNDS):
            again = self.touched(asked, drawn).nonzero().squeeze(1)
            if not again.numel():
                return drawn.to(users.device)
            drawn[again] = torch.randint(self.n_items, again.shape, generator=generator)
        again = self.touched(asked, drawn).nonzero().squeeze(1)
        drawn[again] = self._by_rank(asked[again], generator)
        return drawn.to(users.device)

    def touched(self, users: Tensor, items: Tensor) -> Tensor:
        """``(B,)`` bool: whether each pair is a training pair."""
        wanted = users * self.n_items + items
        place = torch.searchsorted(self._keys, wanted).clamp_(max=max(len(self._keys) - 1, 0))
        return self._keys[place] == wanted if len(self._keys) else torch.zeros_like(wanted, dtype=torch.bool)

    def _by_rank(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the rank among the untouched items, then step over the touched ones before it."""
        drawn = torch.empty_like(users)
        for i, user in enumerate(users.tolist()):
            start = int(self._starts[user])
            own = self._keys[start : start + self.n_items - int(self._free[user])] - user * self.n_items
            rank = torch.randint(int(self._free[user]), (), generator=generator)
            drawn[i] = rank + torch.searchsorted(own - torch.arange(len(own)), rank, right=True)
        return drawn
