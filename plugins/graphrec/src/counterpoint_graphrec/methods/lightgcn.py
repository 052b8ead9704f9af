"""BPR on propagated embeddings (LightGCN), or on the table alone (matrix factorisation)."""

from __future__ import annotations

import torch

from counterpoint.errors import ConfigError, message
from counterpoint.parts import Encoder
from counterpoint_graphrec.methods.base import Asked, GraphMethod, Passed, Regularisation


class LightGCNMethod(GraphMethod):
    """LightGCN: one pass without noise, ranked by BPR.

    Args:
        encoder: `LightGCN` with ``first_layer=0`` as in the paper, or another encoder with a graph.
        regularisation: see `GraphMethod`; the framework's takes users, items and negatives of the table.
        lambda2: see `GraphMethod`.
        negatives: see `GraphMethod`.

    Source: He et al. 2020 (arXiv 2002.02126), eq. 15.
    """

    framework_on_table = True
    framework_negatives = True

    def passes(self, asked: Asked, generator: torch.Generator) -> Passed:
        """One."""
        return Passed(self.encoder.propagate(nodes=asked.nodes))


class BPRMF(LightGCNMethod):
    """Matrix factorisation by pairwise ranking: no layer of propagation.

    Args:
        encoder: `LightGCN` with ``layers=0``.
        regularisation: see `LightGCNMethod`.
        lambda2: likewise.
        negatives: likewise.

    Raises:
        ConfigError: an encoder with layers.

    Source: Rendle et al. 2009 (arXiv 1205.2618).
    """

    def __init__(
        self,
        encoder: Encoder,
        regularisation: Regularisation = "embedding",
        lambda2: float = 1e-4,
        negatives: int = 1,
    ) -> None:
        super().__init__(encoder, regularisation, lambda2, negatives)
        if self.encoder.layers:
            todo = "With layers it is LightGCNMethod."
            raise ConfigError(message("BPRMF: encoder.layers", self.encoder.layers, "0", todo))
