"""Retrieval between two modalities: the texts of a picture, and the pictures of a text.

What is right is told pair by pair: a picture may have several texts, and a text several pictures. Ranks are those of
float32 cosines, equal ones go by the gallery's order, and memory is a tile of scores whatever the sizes.
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
    right: Tensor,
    *,
    names: tuple[str, str] = ("image", "text"),
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Recall@K both ways: the share of queries of which *any* right answer is among the first K (CLIP's convention).

    Args:
        first: ``(N, D)``, normalised here.
        second: ``(M, D)``, normalised here.
        right: ``(P, 2)`` whole numbers: row of ``first``, row of ``second`` that belong together. In any order; a row
            may have several partners.
        names: of the two modalities.
        ks: ranks.

    Returns:
        ``recall@10,image-to-text``, ``recall@10,text-to-image``, ``recall@10`` (their mean), and so for each K. Queries
        without a right answer are left out.

    Raises:
        ShapeError: shapes that do not fit, no pair, a row with NaN or infinity.
        ConfigError: a K below 1.

    Source: Karpathy & Fei-Fei 2015; Radford et al. 2021 (several captions a picture: any counts).
    """
    there, back = first_ranks(first, second, right), first_ranks(second, first, right.flip(1))
    return _both_ways(names, ks, [recall_at(there, k) for k in ks], [recall_at(back, k) for k in ks])


def chance_recall(
    sizes: tuple[int, int], right: Tensor, *, names: tuple[str, str] = ("image", "text"), ks: Sequence[int] = KS
) -> dict[str, float]:
    """What `cross_modal_retrieval` expects of a random order: exact, under the same names.

    Of ``n`` right answers among ``M``, one at least is among the first K with probability ``1 - C(M-n, K) / C(M, K)``.

    Args:
        sizes: rows of each side.
        right: ``(P, 2)`` pairs, as there.
        names: of the two modalities.
        ks: ranks.
    """
    counts = [torch.unique(side, return_counts=True)[1] for side in torch.unique(right, dim=0).T]
    there, back = ([_hit_by_chance(n, size, k) for k in ks] for n, size in zip(counts, reversed(sizes)))
    return _both_ways(names, ks, there, back)


def _both_ways(names: tuple[str, str], ks: Sequence[int], there: list[float], back: list[float]) -> dict[str, float]:
    a, b = names
    found = {f"recall@{k}": (x + y) / 2 for k, x, y in zip(ks, there, back)}
    found |= {f"recall@{k},{a}-to-{b}": x for k, x in zip(ks, there)}
    return found | {f"recall@{k},{b}-to-{a}": y for k, y in zip(ks, back)}


def first_ranks(queries: Tensor, gallery: Tensor, right: Tensor) -> Tensor:
    """1-based rank ``(Q,)`` int64 of each query's first right answer by cosine; 0 where it has none.

    Args:
        queries: ``(Q, D)``, normalised here.
        gallery: ``(M, D)``, normalised here.
        right: ``(P, 2)`` pairs: query, row of the gallery.

    Raises:
        ShapeError: shapes that do not fit, an empty gallery, a row with NaN or infinity.
    """
    rows = _check.features("gallery", gallery, dtype=torch.float32)
    asked = _check.features("queries", queries, dim=rows.shape[1], dtype=torch.float32).to(rows.device)
    _check.rows("gallery", rows, 1)
    pairs = _pairs(right, len(asked), len(rows)).to(rows.device)
    asked, rows = _check.unit(asked), _check.unit(rows)
    ranks = torch.zeros(len(asked), dtype=torch.int64, device=rows.device)
    block = max(1, _SCORES // len(rows))
    for start in range(0, len(asked), block):
        here = pairs[(pairs[:, 0] >= start) & (pairs[:, 0] < start + block)]
        scores = asked[start : start + block] @ rows.T
        mask = torch.zeros_like(scores, dtype=torch.bool)
        mask[here[:, 0] - start, here[:, 1]] = True
        ranks[start : start + block] = _first_of_block(scores, mask)
    return ranks


def _pairs(right: Tensor, n: int, m: int) -> Tensor:
    pairs = torch.as_tensor(right)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise ShapeError(message("right", f"shape {tuple(pairs.shape)}, dtype {pairs.dtype}", "(P, 2) whole numbers"))
    pairs = pairs.long()
    if len(pairs) and (int(pairs.min()) < 0 or bool((pairs.amax(dim=0).cpu() >= torch.tensor([n, m])).any())):
        low, high = pairs.amin(dim=0).tolist(), pairs.amax(dim=0).tolist()
        raise ShapeError(message("right", f"rows {low} to {high}", f"rows from 0, below {n} and {m}"))
    return pairs


def _first_of_block(scores: Tensor, right: Tensor) -> Tensor:
    """Ranks from ``(q, M)`` scores without a sort: by counting what scores higher, and the equal in front."""
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
        raise ShapeError(message("right", "no query with a right answer", "at least one"))
    return float((known <= k).double().mean())


def _hit_by_chance(right: Tensor, size: int, k: int) -> float:
    """Mean over queries of the chance that a draw of ``k`` of ``size`` holds one of ``right``."""
    draw = torch.arange(min(k, size), dtype=torch.float64)
    missed = ((size - right[:, None].double() - draw) / (size - draw)).clamp(min=0).prod(dim=1)
    return float(1 - missed.mean())
