"""Heads, prototypes, the momentum twin, the queue, and exact gradient caching."""

from counterpoint.nn.chunks import encode_in_chunks
from counterpoint.nn.heads import DINOHead, Predictor, Projector
from counterpoint.nn.lars import LARS
from counterpoint.nn.momentum import MomentumTwin
from counterpoint.nn.prototypes import Prototypes
from counterpoint.nn.queue import Queue

__all__ = [
    "LARS",
    "DINOHead",
    "MomentumTwin",
    "Predictor",
    "Projector",
    "Prototypes",
    "Queue",
    "encode_in_chunks",
]
