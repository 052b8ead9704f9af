"""Objectives: embeddings -> scalar loss. Pure torch, usable alone in any training loop."""

from counterpoint.objectives.barlow_twins import BarlowTwins, barlow_twins_loss
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.bpr import BPR, bpr_loss
from counterpoint.objectives.cosine import NegativeCosine, negative_cosine
from counterpoint.objectives.dcl import DCL, dcl_loss
from counterpoint.objectives.dino import SelfDistillation, self_distillation
from counterpoint.objectives.gather import gather
from counterpoint.objectives.info_nce import InfoNCE, info_nce_loss
from counterpoint.objectives.nt_xent import NTXent, nt_xent_loss
from counterpoint.objectives.sepclr import SepCLR, sepclr_loss
from counterpoint.objectives.sigmoid import Sigmoid, sigmoid_loss
from counterpoint.objectives.sinkhorn import sinkhorn
from counterpoint.objectives.supcon import SupCon, sup_con_loss
from counterpoint.objectives.swav import SwappedPrediction, swapped_prediction
from counterpoint.objectives.vicreg import VICReg, vicreg_loss

__all__ = [
    "BPR",
    "DCL",
    "BarlowTwins",
    "InfoNCE",
    "NTXent",
    "NegativeCosine",
    "Objective",
    "Reduction",
    "Result",
    "SelfDistillation",
    "SepCLR",
    "Sigmoid",
    "SupCon",
    "SwappedPrediction",
    "VICReg",
    "barlow_twins_loss",
    "bpr_loss",
    "dcl_loss",
    "gather",
    "info_nce_loss",
    "negative_cosine",
    "nt_xent_loss",
    "self_distillation",
    "sepclr_loss",
    "sigmoid_loss",
    "sinkhorn",
    "sup_con_loss",
    "swapped_prediction",
    "vicreg_loss",
]
