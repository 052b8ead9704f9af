"""Retrieval between two modalities: the texts of a picture, and the pictures of a text.

A right answer is any row of the query's *group*: a picture's own texts, and those of every picture that shares its
content or a text with it. Ranks are those of float32 cosines, equal ones go by the gallery's order, and memory is a tile
of scores whatever the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.evaluation import _check

_SCORES = 4_000_000
"""Scores held at a time."""
KS = (1, 5, 10)


def cross_modal_retrieval(
    first: Tensor,
    second: Tensor,
    first_groups: Tensor,
    second_groups: Tensor,
    *,
    names: tuple[str, str] = ("image", "text"),
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Recall@K both ways: the share of queries of which *any* right answer is among the first K (CLIP's convention).

    Args:
        first: ``(N, D)``, normalised here.
        second: ``(M, D)``, normalised here; several rows may belong to one of the first's, and the other way round.
        first_groups: ``(N,)`` whole numbers.
        second_groups: ``(M,)`` whole numbers; rows of one group are right answers to each other.
        names: of the two modalities.
        ks: ranks.

    Returns:
        ``recall@10,image-to-text``, ``recall@10,text-to-image``, ``recall@10`` (their mean), and so for each K. Queries
        without a right answer are left out.

    Raises:
        ShapeError: shapes that do not fit, no query with a right answer, a row with NaN or infinity.
        ConfigError: a K below 1.

    Source: Karpathy & Fei-Fei 2015; Radford et al. 2021 (several captions a picture: any counts).
    """
    there = first_ranks(first, first_groups, second, second_groups)
    back = first_ranks(second, second_groups, first, first_groups)
    return _both_ways(names, ks, [recall_at(there, k) for k in ks], [recall_at(back, k) for k in ks])


def chance_recall(
    first_groups: Tensor,
    second_groups: Tensor,
    *,
    names: tuple[str, str] = ("image", "text"),
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """What `cross_modal_retrieval` expects of a random order: exact, under the same names.

    Of ``n`` right answers among ``M``, one at least is among the first K with probability ``1 - C(M-n, K) / C(M, K)``.
    """
    there = [_hit_by_chance(_right(first_groups, second_groups), len(second_groups), k) for k in ks]
    back = [_hit_by_chance(_right(second_groups, first_groups), len(first_groups), k) for k in ks]
    return _both_ways(names, ks, there, back)


def _both_ways(names: tuple[str, str], ks: Sequence[int], there: list[float], back: list[float]) -> dict[str, float]:
    a, b = names
    found = {f"recall@{k}": (x + y) / 2 for k, x, y in zip(ks, there, back)}
    found |= {f"recall@{k},{a}-to-{b}": x for k, x in zip(ks, there)}
    return found | {f"recall@{k},{b}-to-{a}": y for k, y in zip(ks, back)}


def first_ranks(queries: Tensor, query_groups: Tensor, gallery: Tensor, gallery_groups: Tensor) -> Tensor:
    """1-based rank ``(Q,)`` int64 of each query's first right answer by cosine; 0 where the gallery has none.

    Args:
        queries: ``(Q, D)``, normalised here.
        query_groups: ``(Q,)`` whole numbers.
        gallery: ``(M, D)``, normalised here.
        gallery_groups: ``(M,)`` whole numbers; a row of the query's group is a right answer.

    Raises:
        ShapeError: shapes that do not fit, an empty gallery, a row with NaN or infinity.
    """
    rows = _check.features("gallery", gallery, dtype=torch.float32)
    asked = _check.features("queries", queries, dim=rows.shape[1], dtype=torch.float32).to(rows.device)
    _check.rows("gallery", rows, 1)
    mine = _check.ids("query_groups", query_groups, len(asked), rows.device)
    theirs = _check.ids("gallery_groups", gallery_groups, len(rows), rows.device)
    asked, rows = _check.unit(asked), _check.unit(rows)
    block = max(1, _SCORES // len(rows))
    found = [
        _first_of_block(asked[start : start + block] @ rows.T, mine[start : start + block, None] == theirs)
        for start in range(0, len(asked), block)
    ]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.int64, device=rows.device)


def _first_of_block(scores: Tensor, right: Tensor) -> Tensor:
    """Ranks from ``(q, M)`` scores without a sort: what scores higher is counted, and what scores the same before it."""
    best, place = scores.masked_fill(~right, -torch.inf).max(dim=1, keepdim=True)
    above = (scores > best).sum(dim=1)
    tied = ((scores >= best).sum(dim=1) > above + 1).nonzero().flatten()
    if len(tied):
        level = scores[tied] == best[tied]
        place = (level & right[tied]).long().argmax(dim=1, keepdim=True)  # the first of the right ones
        before = torch.arange(scores.shape[1], device=scores.device) < place
        above[tied] += (level & before).sum(dim=1)
    return torch.where(right.any(dim=1), above + 1, 0)


def recall_at(ranks: Tensor, k: int) -> float:
    """Share of queries with a right answer whose first one is among the ``k`` first.

    Args:
        ranks: ``(Q,)`` of `first_ranks`; queries with rank 0 are left out.
        k: from 1.

    Raises:
        ShapeError: no query has a right answer.
        ConfigError: ``k`` below 1.
    """
    _check.at_least("k", k)
    known = ranks[ranks > 0]
    if not len(known):
        todo = "Check that the groups of both sides are numbers of the same things."
        raise ShapeError(message("groups", "no query with a right answer in the gallery", "at least one", todo))
    return float((known <= k).double().mean())


def _right(query_groups: Tensor, gallery_groups: Tensor) -> Tensor:
    """How many right answers each query has, ``(Q,)``; queries without any are left out."""
    values, counts = torch.unique(gallery_groups, return_counts=True)
    place = torch.searchsorted(values, query_groups).clamp(max=len(values) - 1)
    found = torch.where(values[place] == query_groups, counts[place], 0)
    return found[found > 0]


def _hit_by_chance(right: Tensor, size: int, k: int) -> float:
    """Mean over queries of the chance that a draw of ``k`` of ``size`` holds one of ``right``."""
    draw = torch.arange(min(k, size), dtype=torch.float64)
    missed = ((size - right[:, None].double() - draw) / (size - draw)).clamp(min=0).prod(dim=1)
    return float(1 - missed.mean())
