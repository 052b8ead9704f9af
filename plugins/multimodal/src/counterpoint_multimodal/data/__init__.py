"""Pictures with their captions, from tables, folders, shards and arrays, and drawn emoji."""

from __future__ import annotations

from counterpoint_multimodal.data.arrays import PairArrays
from counterpoint_multimodal.data.emoji import Emoji
from counterpoint_multimodal.data.folder import PairFolder
from counterpoint_multimodal.data.pairs import Pairs
from counterpoint_multimodal.data.shards import PairShards
from counterpoint_multimodal.data.table import PairTable

__all__ = ["Emoji", "PairArrays", "PairFolder", "PairShards", "PairTable", "Pairs"]
