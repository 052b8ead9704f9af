"""Encoders of nodes: LightGCN's propagation, and any message passing of torch-geometric by name."""

from __future__ import annotations

from counterpoint_graphrec.encoders.base import GraphEncoder
from counterpoint_graphrec.encoders.lightgcn import LightGCN
from counterpoint_graphrec.encoders.pyg import PyGConv

__all__ = ["GraphEncoder", "LightGCN", "PyGConv"]
