"""Finding what is hard: for each row the most similar candidates that are no positives of it.

Nothing here takes a gradient: mining chooses, and what is chosen is compared again by whoever wants to learn from it.
Memory is a block of rows of the similarity matrix at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._inputs import check_rows, no_autocast
from counterpoint.objectives._largest import largest
from counterpoint.objectives._rows import check_ids
from counterpoint.objectives._tiles import INF, blocks, row_block
from counterpoint.objectives._unit import unit_rows

__all__ = ["HardestPairs", "hardest", "hardest_pairs", "largest"]


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
def hardest(
    anchors: Tensor,
    candidates: Tensor,
    count: int,
    *,
    anchor_ids: Tensor | None = None,
    candidate_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The ``count`` candidates of largest cosine with each anchor, among those of other content.

    **Cost.** One product of ``N x M x D``; memory ``O((N + M) D + N count)`` and one block of rows.

    Args:
        anchors: ``(N, D)``, any length.
        candidates: ``(M, D)``, any length.
        count: how many, from 1 to M.
        anchor_ids: ``(N,)`` int64 content ids. None, here or for the candidates: every candidate is allowed.
        candidate_ids: ``(M,)`` int64 content ids; a candidate of the anchor's id is never chosen.

    Returns:
        ``(N, count)`` int64 positions among the candidates and their cosines, largest first. Where an anchor has fewer
        allowed candidates, the last cosines are -inf (and their positions mean nothing).

    Raises:
        ShapeError: inputs that do not fit.
        ConfigError: a count out of its range.
    """
    check_rows("anchors", anchors)
    check_rows("candidates", candidates)
    if anchors.shape[1] != candidates.shape[1]:
        widths = f"{anchors.shape[1]} and {candidates.shape[1]}"
        raise ShapeError(message("width of anchors and candidates", widths, "the same"))
    check_ids("anchor_ids", anchor_ids, len(anchors))
    check_ids("candidate_ids", candidate_ids, len(candidates))
    if not 1 <= count <= len(candidates):
        raise ConfigError(message("count", count, f"from 1 to {len(candidates)}, the candidates"))
    found = []
    with no_autocast(anchors):
        rows = unit_rows(anchors)
        others = unit_rows(candidates.to(rows.dtype))
        for block in blocks(len(rows), row_block(len(others), rows.device)):
            scores = rows[block] @ others.t()
            if anchor_ids is not None and candidate_ids is not None:
                scores.masked_fill_(torch.eq(anchor_ids[block, None], candidate_ids), -INF)
            found.append(largest(scores, count))
    scores, indices = (torch.cat(column) for column in zip(*found))
    return indices, scores


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
