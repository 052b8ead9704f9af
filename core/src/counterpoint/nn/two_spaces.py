"""Two encoders of the same views: one for what two sets of samples share, one for what only one of them has."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError, message
from counterpoint.nn.concat import ConcatEncoder
from counterpoint.parts import Dataset, Encoder
from counterpoint.types import Encoding, View

SPACES = ("common", "salient")


class Coded(Encoder):
    """An encoder with a linear map behind it: a narrow code, which cannot hold everything.

    Args:
        encoder: what is in front.
        dim: width of the code.
    """

    def __init__(self, encoder: Encoder, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise ConfigError(message("dim", dim, "a whole number from 1"))
        self.encoder, self.code, self.dim = encoder, nn.Linear(encoder.dim, dim), dim
        self.capabilities, self.transductive = encoder.capabilities, encoder.transductive

    def prepare(self, dataset: Dataset) -> None:
        """Let the encoder take what it is made of."""
        self.encoder.prepare(dataset)

    def forward(self, view: View) -> Encoding:
        """The encoder's encoding, its pooled part ``(B, D)`` as a code ``(B, dim)``."""
        encoding: Encoding = self.encoder(view)
        return replace(encoding, pooled=self.code(encoding.pooled))


class TwoSpaces(ConcatEncoder):
    """Two encoders side by side: ``pooled`` is ``[common; salient]``, and `split` takes it apart again.

    Args:
        encoders: that of the common space, then that of the salient space.
        dim: width of each code, by a linear map behind each encoder; None: the encoders' own widths.

    Raises:
        ConfigError: not two encoders.

    Source: Louiset et al. 2024 (SepCLR).
    """

    def __init__(self, encoders: Sequence[Encoder], dim: int | None = None) -> None:
        if len(encoders) != len(SPACES):
            raise ConfigError(message("encoders", len(encoders), f"two: {' and '.join(SPACES)}"))
        super().__init__(encoders if dim is None else [Coded(encoder, dim) for encoder in encoders])

    @classmethod
    def twice(cls, encoder: Encoder, dim: int | None = None) -> TwoSpaces:
        """``encoder`` for the common space and a copy of it, with the same weights, for the salient one.

        Raises:
            ConfigError: it cannot be copied, or is made of its training samples (a graph), which two sets do not share.
        """
        name = type(encoder).__name__
        if encoder.transductive:
            allowed = "an encoder that takes any sample"
            raise ConfigError(message("encoder", f"{name}, made of its own training samples", allowed))
        try:
            other = copy.deepcopy(encoder)
        except Exception as error:
            found = f"{name}, which cannot be copied ({type(error).__name__}: {error})"
            raise ConfigError(message("encoder", found, "one that copy.deepcopy copies")) from error
        return cls([encoder, other], dim)

    @property
    def widths(self) -> list[int]:
        """Widths of the common and of the salient code."""
        return [int(encoder.dim) for encoder in self.encoders]  # type: ignore[arg-type]

    def split(self, pooled: Tensor) -> dict[str, Tensor]:
        """``(B, D)`` -> the code of each space, by name."""
        return dict(zip(SPACES, torch.split(pooled, self.widths, dim=1)))
