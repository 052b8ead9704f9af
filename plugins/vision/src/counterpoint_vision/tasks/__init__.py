"""What image embeddings are good for."""

from __future__ import annotations

from counterpoint_vision.tasks.duplicates import NearDuplicates
from counterpoint_vision.tasks.fewlabels import FewLabels
from counterpoint_vision.tasks.retrieval import ImageRetrieval, Neighbours
from counterpoint_vision.tasks.sheet import Tile, contact_sheet

__all__ = ["FewLabels", "ImageRetrieval", "NearDuplicates", "Neighbours", "Tile", "contact_sheet"]
