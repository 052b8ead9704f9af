"""Encoders of pictures and texts: two small towers for CPUs, and CLIP and SigLIP of transformers."""

from __future__ import annotations

from counterpoint_multimodal.encoders.clip import CLIPTowers
from counterpoint_multimodal.encoders.text import TextEncoder, TextTransformer
from counterpoint_multimodal.encoders.tokenizer import Tokenizer, Tokens
from counterpoint_multimodal.encoders.towers import PairTowers, TwoTowers

__all__ = ["CLIPTowers", "PairTowers", "TextEncoder", "TextTransformer", "Tokenizer", "Tokens", "TwoTowers"]
