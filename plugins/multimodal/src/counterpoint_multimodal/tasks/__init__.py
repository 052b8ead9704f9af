"""What the shared space of pictures and texts is good for."""

from __future__ import annotations

from counterpoint_multimodal.tasks.prompts import PromptClasses
from counterpoint_multimodal.tasks.zero_shot import ZeroShot

__all__ = ["PromptClasses", "ZeroShot"]
