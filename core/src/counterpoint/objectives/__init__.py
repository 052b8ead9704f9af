"""Objectives: embeddings -> scalar loss. Pure torch, usable alone in any training loop."""

from counterpoint.objectives.barlow_twins import BarlowTwins, barlow_twins_loss
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.cosine import NegativeCosine, negative_cosine
from counterpoint.objectives.dino import SelfDistillation, self_distillation
from counterpoint.objectives.gather import gather
from counterpoint.objectives.sinkhorn import sinkhorn
from counterpoint.objectives.swav import SwappedPrediction, swapped_prediction
from counterpoint.objectives.vicreg import VICReg, vicreg_loss

__all__ = [
    "BarlowTwins",
    "NegativeCosine",
    "Objective",
    "Reduction",
    "Result",
    "SelfDistillation",
    "SwappedPrediction",
    "VICReg",
    "barlow_twins_loss",
    "gather",
    "negative_cosine",
    "self_distillation",
    "sinkhorn",
    "swapped_prediction",
    "vicreg_loss",
]
