"""Objectives: embeddings -> scalar loss. Pure torch, usable alone in any training loop."""

from counterpoint.objectives.barlow_twins import BarlowTwins, barlow_twins_loss
from counterpoint.objectives.base import Objective, Reduction, Result
from counterpoint.objectives.bpr import BPR, bpr_loss
from counterpoint.objectives.cacr import CACR, cacr_loss
from counterpoint.objectives.core_tuning import CoreTuning, core_tuning_loss
from counterpoint.objectives.cosine import NegativeCosine, negative_cosine
from counterpoint.objectives.dcl import DCL, dcl_loss
from counterpoint.objectives.dino import SelfDistillation, self_distillation
from counterpoint.objectives.feature_transform import FeatureTransform, feature_transform_loss
from counterpoint.objectives.gates import PairGate
from counterpoint.objectives.gather import gather
from counterpoint.objectives.hydra import Hydra, hydra_loss, sample_partners
from counterpoint.objectives.info_nce import InfoNCE, info_nce_loss
from counterpoint.objectives.mining import hardest_pairs
from counterpoint.objectives.mochi import MoCHi, mochi_loss
from counterpoint.objectives.nt_xent import NTXent, nt_xent_loss
from counterpoint.objectives.sepclr import SepCLR, sepclr_loss
from counterpoint.objectives.sigmoid import Sigmoid, sigmoid_loss
from counterpoint.objectives.sinkhorn import sinkhorn
from counterpoint.objectives.supcon import SupCon, sup_con_loss
from counterpoint.objectives.supremix import SupReMix, sup_re_mix_loss
from counterpoint.objectives.swav import SwappedPrediction, swapped_prediction
from counterpoint.objectives.vicreg import VICReg, vicreg_loss

__all__ = [
    "BPR",
    "CACR",
    "DCL",
    "BarlowTwins",
    "CoreTuning",
    "FeatureTransform",
    "Hydra",
    "InfoNCE",
    "MoCHi",
    "NTXent",
    "NegativeCosine",
    "Objective",
    "PairGate",
    "Reduction",
    "Result",
    "SelfDistillation",
    "SepCLR",
    "Sigmoid",
    "SupCon",
    "SupReMix",
    "SwappedPrediction",
    "VICReg",
    "barlow_twins_loss",
    "bpr_loss",
    "cacr_loss",
    "core_tuning_loss",
    "dcl_loss",
    "feature_transform_loss",
    "gather",
    "hardest_pairs",
    "hydra_loss",
    "info_nce_loss",
    "mochi_loss",
    "negative_cosine",
    "nt_xent_loss",
    "sample_partners",
    "self_distillation",
    "sepclr_loss",
    "sigmoid_loss",
    "sinkhorn",
    "sup_con_loss",
    "sup_re_mix_loss",
    "swapped_prediction",
    "vicreg_loss",
]
