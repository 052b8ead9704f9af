"""SimGCL: two noisy passes attract node by node, beside a clean one that is ranked."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from counterpoint.objectives import Objective
from counterpoint.parts import Encoder
from counterpoint_graphrec.methods.base import Asked, Passed, Regularisation, at_least
from counterpoint_graphrec.methods.contrast import ContrastiveMethod
from counterpoint_graphrec.noise import signed_noise


class SimGCL(ContrastiveMethod):
    """Three passes: a clean one for BPR, two noisy ones for the contrast.

    What is learnt comes from uniformity, not from what the graph loses: noise of a given length replaces SGL's dropout.

    Args:
        encoder: `LightGCN` with ``first_layer=1`` as in the paper, or another encoder with a graph.
        objective: see `ContrastiveMethod`.
        weight: of the contrast (paper: 0.2 Douban-Book, 0.5 Yelp2018, 2 Amazon-Book).
        temperature: of the default objective.
        eps: length of the noise added to each layer.
        regularisation: see `GraphMethod`; the framework's takes users and items of the final embeddings.
        lambda2: see `GraphMethod`.
        negatives: see `GraphMethod`.

    Raises:
        ConfigError: a setting out of its range.

    Source: Yu et al. 2022 (arXiv 2112.08679).
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        weight: float = 0.2,
        temperature: float = 0.2,
        eps: float = 0.1,
        regularisation: Regularisation = "embedding",
        lambda2: float = 1e-4,
        negatives: int = 1,
    ) -> None:
        super().__init__(encoder, objective, weight, temperature, regularisation, lambda2, negatives)
        at_least(0, eps=eps)
        self.eps = eps

    def passes(self, asked: Asked, generator: torch.Generator) -> Passed:
        """A clean one, then two noisy ones."""
        layers = self.encoder.propagate(nodes=asked.nodes)
        first, second = self._noisy(asked, generator), self._noisy(asked, generator)
        return self.contrast(layers, first, second, asked)

    def _noisy(self, asked: Asked, generator: torch.Generator) -> Tensor:
        noise = partial(signed_noise, eps=self.eps, generator=generator)
        return self.encoder.final(self.encoder.propagate(noise, nodes=asked.nodes))
