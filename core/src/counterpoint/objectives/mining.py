"""Finding what is hard: for each row the most similar candidates that are no positives of it.

Nothing here takes a gradient: mining chooses, and what is chosen is compared again by whoever wants to learn from it.
Memory is a block of rows of the similarity matrix at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from counterpoint.objectives._inputs import check_rows, no_autocast
from counterpoint.objectives._largest import largest
from counterpoint.objectives._rows import check_ids
from counterpoint.objectives._tiles import INF, blocks, row_block
from counterpoint.objectives._unit import unit_rows

__all__ = ["HardestPairs", "hardest_pairs", "largest"]


class HardestPairs(NamedTuple):
    """What `hardest_pairs` finds, ``(B,)`` each.

    Attributes:
        positive: int64 position of the least similar row of the same class; the row itself where there is none.
        negative: int64 position of the most similar row of another class; the row itself where there is none.
        has_positive: bool, whether there is one.
        has_negative: bool, likewise.
    """

    positive: Tensor
    negative: Tensor
    has_positive: Tensor
    has_negative: Tensor


@torch.no_grad()
def hardest_pairs(features: Tensor, labels: Tensor) -> HardestPairs:
    """For each row of a batch the least similar row of its class and the most similar row of another, by cosine.

    Args:
        features: ``(B, F)``, any length.
        labels: ``(B,)`` int64 classes, -1 for "unknown": such a row has no pair and is in none.

    Raises:
        ShapeError: inputs that do not fit.

    Source: Zhang et al. 2021 (arXiv 2102.06605), section 4.2.
    """
    check_rows("features", features)
    check_ids("labels", labels, len(features))
    found = []
    with no_autocast(features):
        unit = unit_rows(features)
        places = torch.arange(len(unit), device=unit.device)
        for block in blocks(len(unit), row_block(len(unit), unit.device)):
            scores = unit[block] @ unit.t()
            known = (labels[block, None] >= 0) & (labels >= 0)
            same = labels[block, None] == labels
            positive = scores.masked_fill(~same | ~known | (places[block, None] == places), INF).min(dim=1)
            negative = scores.masked_fill(same | ~known, -INF).max(dim=1)
            found.append((positive.indices, negative.indices, positive.values < INF, negative.values > -INF))
    first, second, has_first, has_second = (torch.cat(column) for column in zip(*found))
    return HardestPairs(
        torch.where(has_first, first, places), torch.where(has_second, second, places), has_first, has_second
    )
