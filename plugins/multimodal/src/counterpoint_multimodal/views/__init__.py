"""Batched views of pictures and their texts: CLIP's plain pair, and CLIP-rocket's weak and strong ones."""

from counterpoint_multimodal.views.pairs import PairViews, RocketViews
from counterpoint_multimodal.views.text import TextAugmentation

__all__ = ["PairViews", "RocketViews", "TextAugmentation"]
