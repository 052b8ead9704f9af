"""What is known of many files in few bytes, so that a folder is compared with an index in flat memory."""

from __future__ import annotations

import hashlib

import numpy as np

from counterpoint_apps.store.base import Store


class Ledger:
    """Which keys a store holds, with two facts each, and which of them were met: 25 bytes an item.

    Keys are held as 64-bit hashes (BLAKE2b): among a million the odds that two are taken for one are 1 in 37 million.

    Args:
        store: read once.
        facts: names of the two facts.
    """

    def __init__(self, store: Store, facts: tuple[str, str]) -> None:
        hashes, first, second = [], [], []
        for keys, values, _ in store.read():
            hashes.append(np.fromiter(map(_hash, keys), np.uint64, len(keys)))
            first.append(values[facts[0]])
            second.append(values[facts[1]])
        order = np.concatenate(hashes).argsort() if hashes else np.empty(0, np.int64)
        self._hashes = np.concatenate(hashes)[order] if hashes else np.empty(0, np.uint64)
        self._first = np.concatenate(first)[order] if first else np.empty(0, np.int64)
        self._second = np.concatenate(second)[order] if second else np.empty(0, np.int64)
        self._met = np.zeros(len(order), dtype=bool)

    def __len__(self) -> int:
        return len(self._hashes)

    def meet(self, key: str, facts: tuple[int, int]) -> bool | None:
        """Mark ``key`` as met. None: not known; else whether its two facts are as they were."""
        place = self._place(key)
        if place is None:
            return None
        self._met[place] = True
        return (int(self._first[place]), int(self._second[place])) == facts

    def lost(self, key: str) -> bool:
        """Whether ``key`` is known and was not met."""
        place = self._place(key)
        return place is not None and not self._met[place]

    @property
    def missing(self) -> int:
        """How many known keys were not met."""
        return int((~self._met).sum())

    def _place(self, key: str) -> int | None:
        value = _hash(key)
        place = int(np.searchsorted(self._hashes, np.uint64(value)))
        return place if place < len(self) and int(self._hashes[place]) == value else None


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
