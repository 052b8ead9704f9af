"""Methods that need no particular modality; imported when first used, listed without torch in ``registry``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from counterpoint.methods.registry import FINE_TUNING, METHODS

if TYPE_CHECKING:
    from counterpoint.methods.barlow_twins import BarlowTwins
    from counterpoint.methods.base import Method
    from counterpoint.methods.byol import BYOL
    from counterpoint.methods.dino import DINO
    from counterpoint.methods.finetune import Classify, FineTune, Regress
    from counterpoint.methods.moco import MoCo, MoCoV3
    from counterpoint.methods.pair import Pair
    from counterpoint.methods.sepclr import SepCLR
    from counterpoint.methods.simclr import SimCLR
    from counterpoint.methods.simsiam import SimSiam
    from counterpoint.methods.swav import SwAV
    from counterpoint.methods.vicreg import VICReg

_PARTS = [*METHODS.values(), *FINE_TUNING.values()]
_TARGETS = {part.target.partition(":")[2]: part.target.partition(":")[0] for part in _PARTS}
_TARGETS |= {"Method": "counterpoint.methods.base", "FineTune": "counterpoint.methods.finetune"}

__all__ = [
    "BYOL",
    "DINO",
    "FINE_TUNING",
    "METHODS",
    "BarlowTwins",
    "Classify",
    "FineTune",
    "Method",
    "MoCo",
    "MoCoV3",
    "Pair",
    "Regress",
    "SepCLR",
    "SimCLR",
    "SimSiam",
    "SwAV",
    "VICReg",
]


def __getattr__(name: str) -> Any:
    if name not in _TARGETS:
        raise AttributeError(f"module 'counterpoint.methods' has no attribute {name!r}")
    return getattr(import_module(_TARGETS[name]), name)


def __dir__() -> list[str]:
    return __all__
