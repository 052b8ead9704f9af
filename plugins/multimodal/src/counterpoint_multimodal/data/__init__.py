"""Pictures with their captions, from tables, folders, shards and arrays, and drawn emoji."""

from __future__ import annotations

from counterpoint_multimodal.data.pairs import Pairs
from counterpoint_multimodal.data.table import PairTable

__all__ = ["PairTable", "Pairs"]
