"""The five words that data speaks on its way through the house: sample, batch, view, encoding, step.

Shapes: ``B`` samples in a batch, ``N`` tokens, ``D`` dimensions of an encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a dataset.

    Attributes:
        index: position in the dataset.
        data: modality name -> raw value, e.g. ``{"image": uint8 tensor (3, H, W)}``.
        label: class index, or None where nothing is known.
        content: 63-bit hash of the raw content; equal content has equal ids, so that a duplicate
            is never used as a negative. 0: not known; the index then stands for it.
        target: a number that goes with it (an age, an angle, a score), or None where nothing is known.
    """

    index: int
    data: Mapping[str, Any]
    label: int | None = None
    content: int = 0
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that could not be read: it is skipped and counted, and the count is shown."""

    index: int
    name: str
    reason: str


@dataclass(slots=True)
class Batch:
    """Samples put together.

    Attributes:
        data: modality name -> ``(B, ...)`` tensor, or a list of ``B`` tensors where sizes differ.
        index: ``(B,)`` int64, positions in the dataset.
        content: ``(B,)`` int64, content ids (equal content, equal id).
        label: ``(B,)`` int64 with -1 for "unknown", or None when the dataset has no labels.
        target: ``(B,)`` floating point with NaN for "unknown", or None when the dataset has no targets.
        damaged: records that were left out of this batch.
    """

    data: dict[str, Tensor | list[Tensor]]
    index: Tensor
    content: Tensor
    label: Tensor | None = None
    target: Tensor | None = None
    damaged: list[Damaged] = field(default_factory=list)

    def __len__(self) -> int:
        return self.index.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``."""
        target = self.target
        if target is not None and torch.device(device).type == "mps":  # which has no float64
            target = target.float()
        data = {
            name: [v.to(device) for v in value] if isinstance(value, list) else value.to(device)
            for name, value in self.data.items()
        }
        return replace(
            self,
            data=data,
            index=self.index.to(device),
            content=self.content.to(device),
            label=None if self.label is None else self.label.to(device),
            target=None if target is None else target.to(device),
        )


@dataclass(slots=True)
class View:
    """What an encoder sees of a batch: an augmentation, a masked copy, one modality of several.

    Attributes:
        data: ``(B, ...)`` tensor (or whatever the encoder of this modality takes).
        modality: name of the modality; an encoder with several towers picks the tower by it.
        role: ``"global"`` or ``"local"`` (SwAV's and DINO's small crops, CLIP-rocket's strongly augmented views).
    """

    data: Any
    modality: str
    role: str = "global"


@dataclass(slots=True)
class Encoding:
    """What an encoder returns.

    Attributes:
        pooled: ``(B, D)``.
        tokens: ``(B, N, D')`` patch, point or step features, or None.
        mask: ``(B, N)`` bool, True where a token is real, or None when all are.
        features: ``(B, F)``, what stands before the encoder's own projection to ``pooled``, where it has one (CLIP's
            towers): further heads begin here.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
    features: Tensor | None = None


@dataclass(slots=True)
class Step:
    """What one training step of a method tells.

    Attributes:
        loss: scalar to minimise.
        parts: named scalars for the log (detached).
        pair: two ``(B, D)`` detached embeddings of the same samples, for the monitors.
        chance: the loss of a model that has learnt nothing, e.g. ``log(candidates)``; None where
            the objective has no such level.
        queue: rows ``(M, D)`` of a memory that the first of the pair was compared with, and their content ids ``(M,)``;
            for the monitors, None where the method has none.
    """

    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    pair: tuple[Tensor, Tensor] | None = None
    chance: float | None = None
    queue: tuple[Tensor, Tensor] | None = None
