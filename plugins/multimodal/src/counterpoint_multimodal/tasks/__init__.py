"""What the shared space of pictures and texts is good for."""

from __future__ import annotations

from counterpoint_multimodal.tasks.compositions import Compositions, compose
from counterpoint_multimodal.tasks.grounding import Grounded, Grounding
from counterpoint_multimodal.tasks.prompts import PromptClasses
from counterpoint_multimodal.tasks.search import Matches, PictureSearch
from counterpoint_multimodal.tasks.zero_shot import TEMPLATES, ZeroShot

__all__ = [
    "TEMPLATES",
    "Compositions",
    "Grounded",
    "Grounding",
    "Matches",
    "PictureSearch",
    "PromptClasses",
    "ZeroShot",
    "compose",
]
