"""Encoders of pictures and texts: small towers for CPUs, CLIP and SigLIP of transformers, two image encoders as one."""

from __future__ import annotations

from counterpoint_multimodal.encoders.clip import CLIPTowers
from counterpoint_multimodal.encoders.fused import FusedImages, FusedTowers
from counterpoint_multimodal.encoders.fusion import Fusion, Stack
from counterpoint_multimodal.encoders.text import TextEncoder, TextTransformer
from counterpoint_multimodal.encoders.tokenizer import Tokenizer, Tokens
from counterpoint_multimodal.encoders.towers import PairTowers, TwoTowers

__all__ = [
    "CLIPTowers",
    "FusedImages",
    "FusedTowers",
    "Fusion",
    "PairTowers",
    "Stack",
    "TextEncoder",
    "TextTransformer",
    "Tokenizer",
    "Tokens",
    "TwoTowers",
]
