"""Pictures with their captions, from tables, folders, shards and arrays, and drawn emoji."""

from __future__ import annotations

from counterpoint_multimodal.data.pairs import Pairs

__all__ = ["Pairs"]
