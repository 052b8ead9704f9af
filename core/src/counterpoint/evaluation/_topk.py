"""The k largest of each row, exactly, ties to the lower index."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.objectives._largest import largest


def topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Largest ``k`` of each row in falling order; equal values by rising index.

    Args:
        scores: ``(Q, N)`` without NaN.
        k: 1 to ``N``.

    Returns:
        values ``(Q, k)`` and int64 column indices ``(Q, k)``.
    """
    more = min(k + 1, scores.shape[1])  # one further value tells whether a tie crosses the border
    values, indices = largest(scores, more, ordered=True)
    if more > k:
        _settle_border(scores, values, indices, k)
    values, indices = values[:, :k], indices[:, :k]
    return values, _order_ties(values, indices)


def _settle_border(scores: Tensor, values: Tensor, indices: Tensor, k: int) -> None:
    """Where rank k and k + 1 are equal, take the equal ones with the lowest indices (in place, only those rows)."""
    tied = (values[:, k - 1] == values[:, k]).nonzero().flatten()
    for chunk in torch.split(tied, 64):
        row, border = scores[chunk], values[chunk, k - 1, None]
        above, level = row > border, row == border
        room = k - above.sum(dim=1, keepdim=True)
        chosen = above | (level & (level.cumsum(dim=1) <= room))
        place = chosen.nonzero()[:, 1].view(len(chunk), k)
        value, order = row.gather(1, place).sort(dim=1, descending=True, stable=True)
        values[chunk, :k], indices[chunk, :k] = value, place.gather(1, order)


def _order_ties(values: Tensor, indices: Tensor) -> Tensor:
    """Indices with each run of equal values in rising order; rows without ties are not touched."""
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero().flatten()
    if len(tied) == 0:
        return indices
    place, order = indices[tied].sort(dim=1)
    again = values[tied].gather(1, order).sort(dim=1, descending=True, stable=True).indices
    return indices.index_copy(0, tied, place.gather(1, again))


def merge(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    """Best ``k`` of two lists ``(values, indices)``; the lower indices are those of the first, and stay in front."""
    values, order = torch.cat([first[0], second[0]], dim=1).sort(dim=1, descending=True, stable=True)
    return values[:, :k], torch.cat([first[1], second[1]], dim=1).gather(1, order[:, :k])
