"""XSimGCL: one noisy pass that is ranked and contrasted across its own layers."""

from __future__ import annotations

from functools import partial

import torch

from counterpoint.errors import ConfigError, message
from counterpoint.objectives import Objective
from counterpoint.parts import Encoder
from counterpoint_graphrec.methods.base import Asked, Passed, Regularisation, at_least
from counterpoint_graphrec.methods.contrast import ContrastiveMethod
from counterpoint_graphrec.noise import signed_noise


class XSimGCL(ContrastiveMethod):
    """One noisy pass: its final embeddings are ranked by BPR and contrasted with one of its layers.

    It costs about what LightGCN costs, and learns as SimGCL does.

    Args:
        encoder: `LightGCN` with ``first_layer=1`` as in the paper, or another encoder with a graph.
        objective: see `ContrastiveMethod`; its anchors are the final embeddings.
        weight: of the contrast.
        temperature: of the default objective.
        eps: length of the noise added to each layer.
        contrast_layer: l*, the layer that is contrasted with the final embeddings, 1 to L.
        regularisation: see `GraphMethod`; the framework's takes users and items of the final embeddings.
        lambda2: see `GraphMethod`.
        negatives: see `GraphMethod`.

    Raises:
        ConfigError: a setting out of its range.

    Source: Yu et al. 2023 (arXiv 2209.02544). The defaults are those for Yelp2018.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective | None = None,
        weight: float = 0.2,
        temperature: float = 0.15,
        eps: float = 0.2,
        contrast_layer: int = 1,
        regularisation: Regularisation = "embedding",
        lambda2: float = 1e-4,
        negatives: int = 1,
    ) -> None:
        super().__init__(encoder, objective, weight, temperature, regularisation, lambda2, negatives)
        at_least(0, eps=eps)
        if not 1 <= contrast_layer <= self.encoder.layers:
            raise ConfigError(message("contrast_layer", contrast_layer, f"1 to {self.encoder.layers}, the last layer"))
        self.eps, self.contrast_layer = eps, contrast_layer

    def passes(self, asked: Asked, generator: torch.Generator) -> Passed:
        """One."""
        noise = partial(signed_noise, eps=self.eps, generator=generator)
        layers = self.encoder.propagate(noise, nodes=asked.nodes)
        return self.contrast(layers, self.encoder.final(layers), layers[self.contrast_layer], asked)
