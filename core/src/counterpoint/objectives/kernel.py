"""The tiled log-sum-exp over a similarity matrix: the one kernel under the InfoNCE family.

For anchors ``a`` of shape ``(N, D)`` and candidates ``c`` of shape ``(M, D)`` let ``l[i, j] = scale * a[i] . c[j]``.
The functions here sum over the pairs that *count*, which integer keys decide (`Pairs`), and return one number per
anchor (or one in all). An objective adds its positives, a few operations on ``(N,)`` vectors, and is done:

====================  ==============================================================================
InfoNCE               ``softplus(logsumexp(negatives) - positive)``
decoupled             ``logsumexp(negatives) - positive``
supervised ("out")    ``logsumexp(all others) - mean(positives)``
weighted negatives    ``log_weight``: a number per candidate, or a function of the pair
weighted anchors      multiply the result
mean under softmax    ``softmax_mean``: CACR's expected distance of the negatives
sigmoid (SigLIP)      ``softplus_sum(negatives) + softplus(-positive)``
====================  ==============================================================================

**Cost**: one product of the matrices forward and three backward; half of each where the candidates are the anchors; two
forward and none backward where only the anchors learn, three and none in `softplus_sum`. Memory ``O((N + M) D)`` plus
two tiles, never ``N x M`` (up to four million pairs are one tile). **Precision**: float32 inside for float16, bfloat16
and float32 inputs, also under autocast; float64 for float64. Gradients are exact, written in closed form;
second derivatives are not available.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.objectives._expectation import SoftmaxMean
from counterpoint.objectives._logsumexp import FAST, Job, LogSumExp
from counterpoint.objectives._softplus import SoftplusSum
from counterpoint.objectives._tiles import Cycle, Grid, Key, Keys, PairWeight, Watch, number, tile_shape

Count = Literal["negatives", "positives", "all"]

__all__ = [
    "Count",
    "Cycle",
    "Key",
    "PairWeight",
    "Pairs",
    "Watch",
    "logsumexp",
    "logsumexp_both",
    "softmax_mean",
    "softplus_sum",
]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which anchor is compared with which candidate, by keys ``(of the anchors, of the candidates)``.

    Keys are int64 tensors ``(N,)`` and ``(M,)``, or a `Cycle` where rows are numbered in order (views one below the
    other).

    Attributes:
        ids: equal ids are positives of each other, different ids negatives. Without ids every pair is a negative.
        rows: equal rows are one and the same row, which is never compared with itself.
        groups: pairs from different groups are not compared.
    """

    ids: Keys | None = None
    rows: Keys | None = None
    groups: Keys | None = None

    def rule(self, count: Count) -> tuple[list[Keys], list[Keys]]:
        """Keys that must differ, and keys that must agree, for a pair to count as ``count``."""
        differ, agree = [self.rows], [self.groups]
        if count == "negatives":
            differ.append(self.ids)
        elif count == "positives":
            agree.append(self.ids)
        elif count != "all":
            raise ConfigError(message("count", repr(count), "'negatives', 'positives' or 'all'"))
        return [k for k in differ if k is not None], [k for k in agree if k is not None]


def logsumexp(
    anchors: Tensor,
    candidates: Tensor | None = None,
    scale: float | Tensor = 1.0,
    *,
    pairs: Pairs | None = None,
    count: Count = "negatives",
    log_weight: Tensor | PairWeight | None = None,
    bound: float | None = None,
    tile: int | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """``log sum_j w[i, j] exp(scale * a[i] . c[j])`` over the counted candidates of each anchor.

    Args:
        anchors: ``(N, D)``.
        candidates: ``(M, D)``; None: the anchors themselves (half the work: the matrix is symmetric).
        scale: 1 / temperature, a number or a scalar tensor, which then takes its gradient.
        pairs: keys that decide who is compared; None: all with all.
        count: which pairs to sum over: ``"negatives"`` (ids differ), ``"positives"`` (ids agree) or ``"all"``.
        log_weight: log weights without gradient: ``(M,)``, one per candidate; or a function of anchor positions
            ``(n,)`` and candidate positions ``(m,)`` that returns the ``(n, m)`` log weights of one tile. -inf
            leaves a pair out.
        bound: an upper bound on ``|logits|`` where the caller knows one (unit rows: the scale); else it is computed.
        tile: rows and columns of a tile; None chooses by size and device.
        watch: called on the way forward with each block of whole rows, ``(n, M)``, before it is summed: the logits in
            base 2 (times log2(e)), left-out pairs at -inf; and with the rows' slice. It looks, keeps no reference to
            the block, and changes nothing (`mining.largest` finds the hardest in it).

    Returns:
        ``(N,)``, float32 (float64 for float64 inputs); -inf for an anchor without a counted candidate.

    Raises:
        ShapeError: shapes, widths or keys that do not fit.
    """
    weighted = log_weight is not None
    symmetric = candidates is None and not weighted and watch is None
    anchors, candidates = _compute_dtype(anchors, anchors if candidates is None else candidates)
    job = _job(anchors, candidates, scale, pairs, count, log_weight, bound, tile, symmetric=symmetric, watch=watch)
    result: Tensor = apply(LogSumExp, anchors, candidates.detach() if symmetric else candidates, scale, job)
    return result


def logsumexp_both(
    anchors: Tensor,
    candidates: Tensor,
    scale: float | Tensor = 1.0,
    *,
    pairs: Pairs | None = None,
    count: Count = "negatives",
    log_weight: PairWeight | None = None,
    bound: float | None = None,
    tile: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The same over rows and over columns, from one matrix: ``(N,)`` of the anchors, ``(M,)`` of the candidates.

    Arguments as in `logsumexp`; a log weight must be a function of the pair.

    Raises:
        ShapeError: shapes, widths or keys that do not fit.
    """
    if isinstance(log_weight, Tensor):
        raise ConfigError(message("log_weight", "a tensor", "a function of the pair", "Call logsumexp for each side."))
    anchors, candidates = _compute_dtype(anchors, candidates)
    job = _job(anchors, candidates, scale, pairs, count, log_weight, bound, tile, both=True)
    result: tuple[Tensor, Tensor] = apply(LogSumExp, anchors, candidates, scale, job)
    return result


def softmax_mean(
    anchors: Tensor,
    candidates: Tensor,
    scale: float = 1.0,
    *,
    pairs: Pairs | None = None,
    count: Count = "negatives",
    held: bool = False,
    bound: float | None = None,
    tile: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``sum_j P[i, j] a[i] . c[j]`` with ``P[i] = softmax of scale * a[i] . c[j]`` over the counted candidates.

    Two products of the matrices forward; two backward (three unless held), none where only the anchors learn and the
    weights are held.

    Args:
        anchors: ``(N, D)``.
        candidates: ``(M, D)``.
        scale: sharpness of the weights; 0: the plain mean.
        pairs: keys that decide who is compared.
        count: which pairs to take, as in `logsumexp`.
        held: no gradient through the weights.
        bound: an upper bound on ``|logits|``, as in `logsumexp`.
        tile: rows and columns of a tile; None chooses by size and device.

    Returns:
        log-sum-exps ``(N,)`` of ``scale * a[i] . c[j]``, without gradient where the weights are held (-inf for an
        anchor without a counted candidate), by which means over two sets are joined; and the means ``(N,)`` (0 there).

    Raises:
        ShapeError: shapes, widths or keys that do not fit.
    """
    anchors, candidates = _compute_dtype(anchors, candidates)
    job = _job(anchors, candidates, scale, pairs, count, None, bound, tile)
    result: tuple[Tensor, Tensor] = apply(SoftmaxMean, anchors, candidates, scale, held, job)
    return result


def softplus_sum(
    anchors: Tensor,
    candidates: Tensor,
    scale: float | Tensor = 1.0,
    bias: float | Tensor = 0.0,
    *,
    pairs: Pairs | None = None,
    count: Count = "negatives",
    tile: int | None = None,
) -> Tensor:
    """``sum_ij log(1 + exp(scale * a[i] . c[j] + bias))`` over the counted pairs: a scalar.

    Args:
        anchors: ``(N, D)``.
        candidates: ``(M, D)``.
        scale: 1 / temperature, a number or a scalar tensor, which then takes its gradient.
        bias: added to every logit; likewise.
        pairs: keys that decide who is compared.
        count: which pairs to sum over, as in `logsumexp`.
        tile: rows and columns of a tile; None chooses by size and device.

    Raises:
        ShapeError: shapes, widths or keys that do not fit.
    """
    anchors, candidates = _compute_dtype(anchors, candidates)
    grid = _grid_of(anchors, candidates, pairs, count, tile)
    result: Tensor = apply(SoftplusSum, anchors, candidates, scale, bias, grid)
    return result


def apply(function: type[torch.autograd.Function], anchors: Tensor, *args: Any) -> Any:
    """Call the function out of autocast's reach, which would turn its products into half precision."""
    if not torch.is_autocast_enabled(anchors.device.type):
        return function.apply(anchors, *args)
    with torch.autocast(anchors.device.type, enabled=False):
        return function.apply(anchors, *args)


def _compute_dtype(anchors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64 if one is, else in float32."""
    for name, rows in (("anchors", anchors), ("candidates", candidates)):
        if rows.dim() != 2 or not rows.is_floating_point():
            raise ShapeError(message(name, f"{rows.dtype} {tuple(rows.shape)}", "floating point (rows, dimensions)"))
    if anchors.shape[1] != candidates.shape[1]:
        widths = f"{anchors.shape[1]} and {candidates.shape[1]}"
        raise ShapeError(message("width of anchors and candidates", widths, "the same"))
    dtype = torch.float64 if torch.float64 in (anchors.dtype, candidates.dtype) else torch.float32
    return anchors.to(dtype), candidates.to(dtype)


def _grid_of(
    anchors: Tensor,
    candidates: Tensor,
    pairs: Pairs | None,
    count: Count,
    tile: int | None,
    triangle: bool = False,
    whole_rows: bool = False,
) -> Grid:
    """The tiles and the left-out pairs, keys checked."""
    n, m = anchors.shape[0], candidates.shape[0]
    differ, agree = (pairs or Pairs()).rule(count)
    for anchor, candidate in (*differ, *agree):
        _check_key("anchors", anchor, n)
        _check_key("candidates", candidate, m)
        if isinstance(anchor, Cycle) and isinstance(candidate, Cycle) and not anchor.within(candidate):
            raise ShapeError(message("pairs", f"{anchor} for {candidate}", "anchor keys that candidates have"))
    if tile is not None and tile < 1:
        raise ConfigError(message("tile", tile, "at least 1"))
    shape = tile_shape(n, m, tile, anchors.device, whole_rows)
    return Grid(n, m, shape, triangle, differ, agree, anchors.device)


def _check_key(side: str, key: Key, size: int) -> None:
    if isinstance(key, Cycle):
        if key.period < 1 or size % key.period:
            raise ShapeError(message(f"pairs, keys of {side}", key, f"a period that divides {size}"))
    elif tuple(key.shape) != (size,) or key.dtype != torch.int64:
        raise ShapeError(message(f"pairs, keys of {side}", f"{key.dtype} {tuple(key.shape)}", f"int64 ({size},)"))


def _job(
    anchors: Tensor,
    candidates: Tensor,
    scale: float | Tensor,
    pairs: Pairs | None,
    count: Count,
    log_weight: Tensor | PairWeight | None,
    bound: float | None,
    tile: int | None,
    *,
    symmetric: bool = False,
    both: bool = False,
    watch: Watch | None = None,
) -> Job:
    grid = _grid_of(anchors, candidates, pairs, count, tile, triangle=symmetric, whole_rows=watch is not None)
    if isinstance(log_weight, Tensor) and log_weight.shape != (grid.m,):
        raise ShapeError(message("log_weight", tuple(log_weight.shape), f"({grid.m},) or a function of the pair"))
    if isinstance(log_weight, Tensor):
        log_weight = log_weight.detach().to(anchors.dtype)
    fast = log_weight is None and _small(anchors, candidates, scale, bound)
    return Job(grid, both, fast, log_weight, watch)


def _small(anchors: Tensor, candidates: Tensor, scale: float | Tensor, bound: float | None) -> bool:
    """Whether every logit is small enough for sums of plain exponentials."""
    if bound is None:
        if not len(anchors) or not len(candidates):
            return False
        with torch.no_grad():
            norms = [torch.linalg.vector_norm(rows, dim=1).amax() for rows in (anchors, candidates)]
            bound = abs(number(scale)) * float(norms[0]) * float(norms[1])
    return bound <= FAST[anchors.dtype]
