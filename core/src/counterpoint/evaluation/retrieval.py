"""Retrieval: rank a gallery for each query, and read every usual metric off the ranks of the hits.

Ranks are those of float32 scores, equal scores go by gallery index, and memory is a tile of scores whatever the sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation.knn import knn_search

Ranks = NDArray[np.int64]

_SCORES = 4_000_000
"""Scores held at a time."""


def retrieval(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    *,
    query_ids: Tensor | None = None,
    gallery_ids: Tensor | None = None,
    query_groups: Tensor | None = None,
    gallery_groups: Tensor | None = None,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Metrics of cosine ranking, as means over the queries that have a match in the gallery.

    A gallery row is relevant where its label is the query's. Removed before ranking: gallery rows with label -1 (junk);
    rows with the query's own id; rows with the query's label *and* group (the same-camera rule of re-identification).

    Args:
        queries: ``(Q, D)``, normalised here.
        query_labels: ``(Q,)``; queries with -1 are left out.
        gallery: ``(M, D)``, normalised here.
        gallery_labels: ``(M,)``.
        query_ids: ``(Q,)`` ids; give them where the queries are inside the gallery.
        gallery_ids: ``(M,)`` ids, together with ``query_ids``.
        query_groups: ``(Q,)`` cameras or other groups.
        gallery_groups: ``(M,)``, together with ``query_groups``.
        ks: ranks of ``recall@K`` and ``true_recall@K``.

    Returns:
        The metrics of `metrics_from_ranks`, with ``recall@1%`` (K = 1 % of the gallery without junk, rounded up) and
        ``queries``, the number of queries that had a match.

    Raises:
        ShapeError: shapes that do not fit, no query with a match, a row with NaN or infinity.
        ConfigError: ids or groups of one side only, or a K below 1.

    Source: Zheng et al. 2015 (Market-1501, same-camera rule); Radford et al. 2021 (recall as any hit).
    """
    for k in ks:
        _check.at_least("ks", k)
    side = _Gallery(gallery, gallery_labels, gallery_ids, gallery_groups)
    q = _check.features("queries", queries, dim=side.rows.shape[1], dtype=torch.float32).to(side.rows.device)
    y = _check.labels("query_labels", query_labels, len(q)).to(q.device)
    pairs = {"ids": (query_ids, gallery_ids), "groups": (query_groups, gallery_groups)}
    keys = {name: _both(name, *pair, len(q), q.device) for name, pair in pairs.items()}
    known = (y >= 0).nonzero().flatten()
    ranks = [hit for part in torch.split(known, side.block) for hit in side.hits(q[part], y[part], _take(keys, part))]
    found = [r for r in ranks if len(r)]
    if not found:
        todo = "Check that labels, ids and groups are of the same samples as the features."
        raise ShapeError(message("query_labels", "no query with a match in the gallery", "at least one", todo))
    metrics = metrics_from_ranks(found, ks)
    metrics["recall@1%"] = _mean([float(r[0] <= math.ceil(0.01 * len(side.rows))) for r in found])
    metrics["queries"] = float(len(found))
    return metrics


def _both(name: str, query: Tensor | None, gallery: Tensor | None, n: int, device: torch.device) -> Tensor | None:
    if (query is None) != (gallery is None):
        missing, given = ("query", "gallery") if query is None else ("gallery", "query")
        raise ConfigError(message(f"{missing}_{name}", "None", f"one per row, for {given}_{name} is given"))
    return None if query is None else _check.ids(f"query_{name}", query, n, device)


def _take(keys: dict[str, Tensor | None], part: Tensor) -> dict[str, Tensor | None]:
    return {name: None if key is None else key[part] for name, key in keys.items()}


class _Gallery:
    """The gallery without junk, and what is compared with it."""

    def __init__(self, rows: Tensor, labels: Tensor, ids: Tensor | None, groups: Tensor | None) -> None:
        x = _check.features("gallery", rows, dtype=torch.float32)
        y = _check.labels("gallery_labels", labels, len(x)).to(x.device)
        keep = y >= 0
        self.rows, self.labels = _check.unit(x[keep]), y[keep]
        _check.rows("gallery", self.rows, 1, "Rows with label -1 are junk and do not count.")
        self.ids = None if ids is None else _check.ids("gallery_ids", ids, len(x), x.device)[keep]
        self.groups = None if groups is None else _check.ids("gallery_groups", groups, len(x), x.device)[keep]
        self.block = max(1, _SCORES // len(self.rows))

    def hits(self, queries: Tensor, labels: Tensor, keys: dict[str, Tensor | None]) -> Iterator[Ranks]:
        """Rising 1-based ranks of the relevant rows, for each query of a block."""
        scores = _check.unit(queries) @ self.rows.T
        relevant = labels[:, None] == self.labels
        removed = torch.zeros_like(relevant)
        if self.ids is not None and keys["ids"] is not None:
            removed |= keys["ids"][:, None] == self.ids
        if self.groups is not None and keys["groups"] is not None:
            removed |= relevant & (keys["groups"][:, None] == self.groups)
        scores.masked_fill_(removed, -torch.inf)
        relevant &= ~removed
        for row, mask in zip(scores.cpu().numpy(), relevant.cpu().numpy()):
            yield hit_ranks(row, mask)


def hit_ranks(scores: NDArray[np.float32], relevant: NDArray[np.bool_]) -> Ranks:
    """Rising 1-based ranks of the relevant entries among ``(M,)`` float32 scores; equal scores rank by index."""
    keys = _descending_keys(scores)
    ranks: Ranks = np.searchsorted(np.sort(keys), np.sort(keys[relevant])) + 1
    return ranks


def _descending_keys(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Distinct integers in the order of ranking: score (falling) in the upper half, index (rising) in the lower.

    The bits of a float32, read as an integer, keep its order once those of negative numbers are turned round. Sorting
    integers needs no stable sort and is ten times faster than sorting indices.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # adding 0 makes -0.0 the same as 0.0
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    keys: NDArray[np.int64] = (-rising << 32) + np.arange(len(scores))
    return keys


def metrics_from_ranks(ranks: Sequence[Ranks], ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Means over queries, from the rising 1-based ranks ``r_1 < ... < r_n`` of each query's ``n >= 1`` relevant rows.

    Returns:
        - ``recall@K``: share of queries with *any* relevant row in the top K (CLIP's, metric learning's, and CMC@K);
        - ``true_recall@K``: share of the relevant rows that are in the top K;
        - ``map``: average precision, ``AP = 1/n sum_i i / r_i``;
        - ``map_trapezoid``: University-1652's, ``1/n sum_i ((i - 1) / (r_i - 1) + i / r_i) / 2``, the first term 1 at
          rank 1;
        - ``r_precision``: share of relevant rows in the top n;
        - ``map@r``: ``1/n sum_i [r_i <= n] i / r_i``;
        - ``mrr``: ``1 / r_1``.
    """
    metrics = {f"recall@{k}": _mean([float(r[0] <= k) for r in ranks]) for k in ks}
    metrics |= {f"true_recall@{k}": _mean([float((r <= k).mean()) for r in ranks]) for k in ks}
    metrics["map"] = _mean([average_precision(r) for r in ranks])
    metrics["map_trapezoid"] = _mean([trapezoidal_precision(r) for r in ranks])
    metrics["r_precision"] = _mean([float((r <= len(r)).mean()) for r in ranks])
    metrics["map@r"] = _mean([float(((r <= len(r)) * _precision(r)).mean()) for r in ranks])
    metrics["mrr"] = _mean([1.0 / float(r[0]) for r in ranks])
    return metrics


def _precision(ranks: Ranks) -> NDArray[np.float64]:
    precision: NDArray[np.float64] = np.arange(1, len(ranks) + 1) / ranks
    return precision


def average_precision(ranks: Ranks) -> float:
    """``1/n sum_i i / r_i`` over the rising 1-based ranks of all relevant rows."""
    return float(_precision(ranks).mean())


def trapezoidal_precision(ranks: Ranks) -> float:
    """Average precision with each step's precision averaged with that just before the hit (University-1652)."""
    before = np.arange(len(ranks)) / np.maximum(ranks - 1, 1)
    before[ranks == 1] = 1.0
    return float(((before + _precision(ranks)) / 2).mean())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def view_retrieval(a: Tensor, b: Tensor) -> float:
    """Share of samples whose second view is the nearest of all second views to the first: Recall@1 without labels.

    It needs no label, so any folder can be judged by it. Chance is ``1/N``: compare only at equal N.

    Args:
        a: ``(N, D)`` embeddings of one view, normalised here.
        b: ``(N, D)`` embeddings of the other view of the same samples, in the same order.

    Raises:
        ShapeError: shapes that differ, no row, a row with NaN or infinity.
    """
    a = _check.features("a", a)
    b = _check.features("b", b, dim=a.shape[1], dtype=a.dtype)
    _check.same_rows(a, b)
    nearest = knn_search(_check.unit(a), _check.unit(b), 1)[1].flatten()
    return float((nearest == torch.arange(len(a), device=nearest.device)).double().mean())
