"""The core's methods by name; importable without torch.

``Part.capabilities`` is what the method *needs* of an encoder (a test holds it equal to the class's ``needs``).
"""

from __future__ import annotations

from counterpoint.plugin import Part

FINE_TUNING: dict[str, Part] = {
    "classify": Part("counterpoint.methods.finetune:Classify", "classes from labels, by an encoder that has learnt"),
    "regress": Part("counterpoint.methods.finetune:Regress", "numbers from targets, by an encoder that has learnt"),
}
"""Tasks that ``counterpoint finetune`` teaches a run's encoder: methods that need labels or targets."""

METHODS: dict[str, Part] = {
    "simclr": Part("counterpoint.methods.simclr:SimCLR", "two views attract, the rest of the batch repels (NT-Xent)"),
    "moco": Part("counterpoint.methods.moco:MoCo", "a momentum encoder and a queue of negatives (v2)"),
    "mocov3": Part("counterpoint.methods.moco:MoCoV3", "a momentum encoder and a predictor, negatives in the batch"),
    "swav": Part("counterpoint.methods.swav:SwAV", "swapped prediction of balanced cluster codes, multi-crop"),
    "byol": Part("counterpoint.methods.byol:BYOL", "predict the momentum encoder's embedding, no negatives"),
    "simsiam": Part("counterpoint.methods.simsiam:SimSiam", "predict the other view behind a stop-gradient"),
    "barlowtwins": Part(
        "counterpoint.methods.barlow_twins:BarlowTwins", "make the views' cross-correlation the identity"
    ),
    "vicreg": Part("counterpoint.methods.vicreg:VICReg", "invariance, variance and covariance terms"),
    "dino": Part("counterpoint.methods.dino:DINO", "self-distillation with centred, sharpened targets, multi-crop"),
    "pair": Part(
        "counterpoint.methods.pair:Pair",
        "two modalities, symmetric InfoNCE with learnt temperature (CLIP)",
        capabilities=frozenset({"modalities"}),
    ),
    "sepclr": Part(
        "counterpoint.methods.sepclr:SepCLR",
        "what a background and targets have in common, and what only the targets have",
        capabilities=frozenset({"inductive", "unimodal"}),
    ),
}
