"""Batched views of pictures and their texts: the plain pair, and the weak and strong ones of CLIP-rocket and SLIP."""

from counterpoint_multimodal.views.pairs import PairViews, RocketViews, SLIPViews
from counterpoint_multimodal.views.text import TextAugmentation

__all__ = ["PairViews", "RocketViews", "SLIPViews", "TextAugmentation"]
