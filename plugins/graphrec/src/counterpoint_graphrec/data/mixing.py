"""Unrelated numbers out of pairs of numbers, vectorised: content ids, and the draw of the splits."""

from __future__ import annotations

import numpy as np


def mixed(first: np.ndarray, second: np.ndarray, seed: int = 0) -> np.ndarray:
    """``(N,)`` int64 from 1 to 2**63 - 1 out of two vectors of numbers below 2**32 and a seed.

    The finaliser of splitmix64 (Steele, Lea and Flood 2014), a bijection of 64 bits, without the last bit.
    """
    start = (seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & (2**64 - 1)
    bits = (first.astype(np.uint64) << np.uint64(32)) | second.astype(np.uint64)
    bits += np.uint64(start)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    found: np.ndarray = np.maximum((bits >> np.uint64(1)).astype(np.int64), 1)
    return found
