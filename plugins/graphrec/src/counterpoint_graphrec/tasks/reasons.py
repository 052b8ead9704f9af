"""Because of what: the parts of a score by the asker's own items, exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from counterpoint_graphrec.tasks.answers import Rule
from counterpoint_graphrec.tasks.nodes import Nodes


@dataclass(frozen=True, slots=True)
class Parts:
    """A score by its items.

    Attributes:
        largest: item numbers with what they add to the score, the largest part first; parts above 0 only.
        total: what all of the asker's items add; the rest is the user's own embedding before propagation.
        positive: the sum of the parts above 0.
    """

    largest: list[tuple[int, float]]
    total: float
    positive: float


def explain(nodes: Nodes, rule: Rule, own: np.ndarray | None, targets: Tensor, most: int) -> Sequence[Parts | None]:
    """The parts of the scores of ``(K,)`` targets; None where a score has none.

    A trained user's score and a newcomer's are sums over the items: ``<f_j, e_i> / sqrt(|S|)`` of item ``j`` for target
    ``i``. A mean cosine is one as well.

    Args:
        nodes: what was learnt.
        rule: what the scores are.
        own: ``(S,)`` items of the asker, or None.
        targets: ``(K,)`` items.
        most: parts that are named, per target.
    """
    if own is None or not len(own) or (rule == "user" and nodes.folds is None):
        return [None] * len(targets)
    rows = torch.from_numpy(own.astype(np.int64))
    if rule == "likeness":
        parts = nodes.unit[rows] @ nodes.unit[targets].T / len(own)
    else:
        assert nodes.folds is not None
        parts = nodes.folds[rows] @ nodes.items[targets].T / len(own) ** 0.5
    return _largest(parts, own, most)


def _largest(parts: Tensor, own: np.ndarray, most: int) -> list[Parts]:
    values, places = parts.sort(dim=0, descending=True, stable=True)
    totals, positive = parts.sum(dim=0).tolist(), parts.clamp(min=0).sum(dim=0).tolist()
    shown = min(most, len(own))
    return [
        Parts([(int(own[place]), part) for part, place in zip(column, order) if part > 0], total, above)
        for column, order, total, above in zip(values[:shown].T.tolist(), places[:shown].T.tolist(), totals, positive)
    ]
