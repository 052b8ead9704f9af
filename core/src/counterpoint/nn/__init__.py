"""Heads, prototypes, the momentum twin, the queue, exact gradient caching, and the fusion of encoders."""

from counterpoint.nn.answers import ClassHead, NumberHead
from counterpoint.nn.chunks import encode_in_chunks
from counterpoint.nn.concat import ConcatEncoder
from counterpoint.nn.cross_attention import GatedCrossAttention
from counterpoint.nn.entropy import attention_entropy, calm_layers, token_entropy
from counterpoint.nn.heads import DINOHead, Predictor, Projector
from counterpoint.nn.lars import LARS
from counterpoint.nn.mixer import GatedMLP, LayerMixer
from counterpoint.nn.momentum import MomentumTwin
from counterpoint.nn.pooling import AttentionPool2x2
from counterpoint.nn.prototypes import Prototypes
from counterpoint.nn.queue import Queue
from counterpoint.nn.rope import AxialRoPE, grid_coordinates
from counterpoint.nn.two_spaces import TwoSpaces

__all__ = [
    "LARS",
    "AttentionPool2x2",
    "AxialRoPE",
    "ClassHead",
    "ConcatEncoder",
    "DINOHead",
    "GatedCrossAttention",
    "GatedMLP",
    "LayerMixer",
    "MomentumTwin",
    "NumberHead",
    "Predictor",
    "Projector",
    "Prototypes",
    "Queue",
    "TwoSpaces",
    "attention_entropy",
    "calm_layers",
    "encode_in_chunks",
    "grid_coordinates",
    "token_entropy",
]
