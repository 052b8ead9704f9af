"""What encoders of pictures and texts are good for."""

from __future__ import annotations

from counterpoint_multimodal.tasks.compositions import Compositions, compose
from counterpoint_multimodal.tasks.grounding import Grounded, Grounding

__all__ = ["Compositions", "Grounded", "Grounding", "compose"]
