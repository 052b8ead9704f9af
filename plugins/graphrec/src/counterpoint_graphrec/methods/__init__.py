"""Methods that need a graph: ranking by pairs (BPR), and contrast between perturbed passes beside it."""

from __future__ import annotations

from counterpoint_graphrec.methods.base import GraphMethod
from counterpoint_graphrec.methods.lightgcn import BPRMF, LightGCNMethod
from counterpoint_graphrec.methods.sgl import SGL
from counterpoint_graphrec.methods.simgcl import SimGCL
from counterpoint_graphrec.methods.xsimgcl import XSimGCL

__all__ = ["BPRMF", "SGL", "GraphMethod", "LightGCNMethod", "SimGCL", "XSimGCL"]
