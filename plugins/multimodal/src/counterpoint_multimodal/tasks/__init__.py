"""What embeddings of pictures and texts are good for."""

from __future__ import annotations

from counterpoint_multimodal.tasks.prompts import PromptClasses

__all__ = ["PromptClasses"]
