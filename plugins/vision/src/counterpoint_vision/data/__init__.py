"""Image data: folders, tables, arrays, and sets with a name."""

from __future__ import annotations

from counterpoint_vision.data.arrays import ImageArrays
from counterpoint_vision.data.folder import ImageFolder
from counterpoint_vision.data.names import NAMES, unknown
from counterpoint_vision.data.photographs import Photographs
from counterpoint_vision.data.public import PublicSet
from counterpoint_vision.data.table import ImageTable

__all__ = ["NAMES", "ImageArrays", "ImageFolder", "ImageTable", "Photographs", "PublicSet", "unknown"]
