"""Several encoders of the same views, their outputs side by side: one representation out of several trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Dataset, Encoder
from counterpoint.types import Encoding, View

Norm = Literal["joint", "per_stage"]


class ConcatEncoder(Encoder):
    """Concatenate what encoders make of a view: ``pooled`` is ``[f_0(x), ..., f_{S-1}(x)]``.

    Encoders of several modalities are concatenated modality by modality, as each picks its own tower. Tokens and
    features are concatenated where all encoders give them, with equal masks or none. It can do what all of them can.

    Args:
        encoders: one or more.
        norm: ``"joint"``: outputs as they are, so that the one normalisation behind them weights each encoder by its
            length, ``cos = sum_s |a_s| |b_s| cos_s / (|a| |b|)``; ``"per_stage"``: each ``pooled`` divided by its
            length first, so that the cosine is the plain mean of the encoders' cosines.

    Raises:
        ConfigError: no encoder, an unknown norm, or encoders of different modalities.

    Source: cross-stage representation integration, Zhang et al. 2024 (arXiv 2402.11816).
    """

    def __init__(self, encoders: Sequence[Encoder], norm: Norm = "joint") -> None:
        super().__init__()
        if not encoders:
            raise ConfigError(message("encoders", "none", "one or more"))
        if norm not in ("joint", "per_stage"):
            raise ConfigError(message("norm", repr(norm), "'joint', 'per_stage'"))
        self.encoders = nn.ModuleList(encoders)
        self.norm = norm
        self.capabilities = frozenset.intersection(*(one.capabilities for one in encoders))
        self.transductive = any(one.transductive for one in encoders)
        self.dim = sum(one.dim for one in encoders)
        self.dims = _added([getattr(one, "dims", {}) for one in encoders])
        self.feature_dims = _added([getattr(one, "feature_dims", {}) for one in encoders])

    def prepare(self, dataset: Dataset) -> None:
        """Let each encoder take what it is made of."""
        for encoder in self.encoders:
            encoder.prepare(dataset)  # type: ignore[operator]

    def forward(self, view: View) -> Encoding:
        """Encode a view of ``B`` rows with each encoder: pooled ``(B, sum of dims)``."""
        found: list[Encoding] = [encoder(view) for encoder in self.encoders]
        pooled = [one.pooled for one in found]
        if self.norm == "per_stage":
            pooled = [F.normalize(rows, dim=1) for rows in pooled]
        masks = [one.mask for one in found]
        alike = all((mask is None) if masks[0] is None else _equal(mask, masks[0]) for mask in masks)
        tokens = _joined([one.tokens for one in found]) if alike else None
        mask = masks[0] if tokens is not None else None
        return Encoding(torch.cat(pooled, dim=1), tokens, mask, _joined([one.features for one in found]))


def _equal(mask: Tensor | None, other: Tensor) -> bool:
    return mask is not None and torch.equal(mask, other)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The parts side by side; None where one is missing or has another number of tokens."""
    there = [part for part in parts if part is not None]
    if len(there) < len(parts) or len({part.shape[:-1] for part in there}) > 1:
        return None
    return torch.cat(there, dim=-1)


def _added(widths: Sequence[dict[str, int]]) -> dict[str, int]:
    if len({frozenset(one) for one in widths}) > 1:
        found = "; ".join(", ".join(one) or "one modality" for one in widths)
        raise ConfigError(message("encoders", f"encoders of different modalities ({found})", "the same ones in all"))
    return {name: sum(one[name] for one in widths) for name in widths[0]}
