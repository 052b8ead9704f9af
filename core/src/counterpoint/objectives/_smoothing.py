"""Label smoothing of a contrastive loss, without a look at single pairs: what it adds is linear in the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.objectives._inputs import no_autocast
from counterpoint.objectives._rows import Rows


def smoothing_gap(rows: Rows, scale: float | Tensor, pairs: Sequence[tuple[int, int]], in_batch: bool) -> Tensor:
    """Positive's logit less the mean logit of all candidates, the positive among them; mean over anchors and ``pairs``.

    Cross-entropy with smoothed labels is ``(1 - a) (- log p[positive]) + a mean over candidates k of (- log p[k])``;
    the logarithm of the denominator is the same in all terms, so that is the plain one plus ``a`` times this. And the
    logits of an anchor sum to its product with the sum of the candidates: ``O(B D)`` altogether.

    Args:
        rows: the batch.
        scale: 1 / temperature.
        pairs: ordered (anchor view, positive view).
        in_batch: whether the batch's other samples are candidates.
    """
    with no_autocast(rows.joined):
        return torch.stack([_gap(rows, a, b, in_batch) for a, b in pairs]).mean() * scale


def _gap(rows: Rows, a: int, b: int, in_batch: bool) -> Tensor:
    """The same for one pair of views, in cosines: ``(B,)``."""
    anchors, positives = rows.views[a].to(rows.joined.dtype), rows.views[b].to(rows.joined.dtype)
    cosine: Tensor = torch.linalg.vecdot(anchors, positives)
    total, count = cosine, torch.ones_like(cosine)
    for candidates, left_out, number in _sources(rows, b, in_batch):
        total = total + anchors @ candidates.sum(0).to(anchors) - torch.linalg.vecdot(anchors, left_out.to(anchors))
        count = count + (len(candidates) - number)
    return cosine - total / count


def _sources(rows: Rows, b: int, in_batch: bool) -> list[tuple[Tensor, Tensor, Tensor | int]]:
    """Candidates ``(M, D)``; for each anchor the sum of those that have its id, ``(B, D)``, and their number."""
    found: list[tuple[Tensor, Tensor, Tensor | int]] = []
    if in_batch:
        everyone = rows.everyone[b]
        if rows.ids is None or rows.all_ids is None:
            found.append((everyone, rows.views[b], 1))
        else:
            found.append((everyone, *_of_equal_id(rows.ids, rows.all_ids, everyone)))
    if rows.queue is not None:
        if rows.ids is None or rows.queue_ids is None:
            found.append((rows.queue, torch.zeros_like(rows.views[b]), 0))
        else:
            found.append((rows.queue, *_of_equal_id(rows.ids, rows.queue_ids, rows.queue)))
    return found


def _of_equal_id(ids: Tensor, candidate_ids: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and number of the candidates that have each of ``ids``: ``(B, D)`` and ``(B,)``."""
    known, place, number = torch.unique(candidate_ids, return_inverse=True, return_counts=True)
    sums = candidates.new_zeros(len(known), candidates.shape[1]).index_add(0, place, candidates)
    mine = torch.searchsorted(known, ids).clamp_(max=len(known) - 1)
    hit = known[mine] == ids
    return sums[mine] * hit[:, None], number[mine] * hit
