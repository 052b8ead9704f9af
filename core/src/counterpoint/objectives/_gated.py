"""The blocks under `hydra_loss`: similarities in each query's own subspace, and what they sum to.

With the length of a gated key as a product of squares, ``|g * k|^2 = g^2 . k^2``, a block is two products of matrices.
The backward pass computes it again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from counterpoint.objectives._head import EXACT
from counterpoint.objectives._tiles import WHOLE, blocks, row_block
from counterpoint.objectives._unit import unit_rows

_SHORTEST = 1e-24  # squared length of a key in a subspace, below which it has no direction there


class Setting(NamedTuple):
    """How a block of rows is compared."""

    scale: float | Tensor
    gates: Tensor
    ungated: float | Tensor
    before: bool


class Rule(NamedTuple):
    """Who is a positive and who a negative.

    Attributes:
        labels: ``(n,)`` classes of the queries.
        partners: ``(n,)`` their partners.
        known: ``(M,)`` classes of the keys.
        ids: ``(n,)`` content ids of the queries, or None.
        key_ids: ``(M,)`` of the keys, or None.
    """

    labels: Tensor
    partners: Tensor
    known: Tensor
    ids: Tensor | None
    key_ids: Tensor | None

    def block(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Positives and negatives of some queries, ``(n, M)`` bool."""
        positive = self.partners[rows, None] == self.known
        negative = ~positive & (self.labels[rows, None] != self.known) & (self.known >= 0)
        if self.ids is not None and self.key_ids is not None:
            negative &= self.ids[rows, None] != self.key_ids
        return positive, negative


def total(queries: Tensor, keys: Tensor, rule: Rule, setting: Setting) -> Tensor:
    """``(4,)``: sums over the queries of loss, similarity and probability of positives, and chance; block by block."""
    size = len(queries) if len(queries) * len(keys) <= WHOLE else row_block(len(keys), keys.device)

    def block(rows: slice) -> Tensor:
        logits = _logits(queries[rows], keys, setting._replace(gates=setting.gates[rows]))
        return _sums(logits, setting.scale, *rule.block(rows))

    cuts = blocks(len(queries), size)
    if len(cuts) == 1:
        return block(cuts[0])
    return torch.stack([checkpoint(block, rows, use_reentrant=False) for rows in cuts]).sum(0)


def _logits(queries: Tensor, keys: Tensor, setting: Setting) -> Tensor:
    """Similarities in each query's subspace over the temperature, ``(n, M)``."""
    squares = setting.gates.square()
    if setting.before:
        return (queries * (squares - setting.ungated) * setting.scale) @ keys.t()
    length = (squares @ keys.square().t()).clamp(min=_SHORTEST).rsqrt()  # 1 / length of each key in each subspace
    return ((unit_rows(queries * setting.gates) * setting.gates * setting.scale) @ keys.t()) * length


def _sums(logits: Tensor, scale: float | Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    count = positive.sum(1)
    alone = ~negative.any(1)
    against = logits.masked_fill(~negative, -math.inf).masked_fill(alone[:, None], 0.0).logsumexp(1)
    each = F.softplus(against.masked_fill(alone, -math.inf)[:, None] - logits, threshold=EXACT)
    loss = each.masked_fill(~positive, 0.0).sum(1) / count
    with torch.no_grad():
        similarity = (logits / scale).masked_fill(~positive, 0.0).sum(1) / count
        probability = torch.exp(-each).masked_fill(~positive, 0.0).sum(1) / count
        chance = negative.sum(1).to(loss.dtype).log1p()
    return torch.stack([loss, similarity, probability, chance]).sum(1)
