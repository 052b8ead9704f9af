"""Densities by Gaussian kernels: how close pairs are, how evenly codes spread, how much several codes hold together.

The kernel is ``k(a, b) = exp(-t |a - b|^2)``: ``t = 1 / (2 variance)``. Rows are taken as they come (on the sphere only
where the caller has put them there), sums over pairs run in the tiles of `kernel`, and ``ids`` leave duplicates out:
samples of one content are not compared. With several processes everybody's rows count, and the mean over ranks of the
gradients is the gradient of one big batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from counterpoint.errors import ShapeError, message
from counterpoint.objectives import kernel
from counterpoint.objectives._inputs import check_above, check_rows, check_views, full_precision
from counterpoint.objectives._rows import check_ids
from counterpoint.objectives.gather import gather, rank, world_size
from counterpoint.objectives.kernel import Cycle, Pairs

COARSE = 1e-3
"""Error of an exponent, from which on distances are computed in float64: a background at 0 beside far targets."""


def alignment(a: Tensor, b: Tensor, alpha: float = 2.0) -> Tensor:
    """``mean_i |a_i - b_i|^alpha`` over positive pairs: 0 iff they coincide.

    Of unit rows with ``alpha = 2`` it is ``2 - 2 * mean cosine``. Each sample's term stands alone.

    Args:
        a: ``(B, D)`` codes of one view.
        b: ``(B, D)`` codes of the other view of the same samples.
        alpha: at least 1 where a gradient is wanted (below, it is infinite where two codes meet), above 0 elsewhere.

    Raises:
        ShapeError: inputs that do not fit.
        ConfigError: ``alpha`` out of its range.

    Source: Wang & Isola 2020 (arXiv 2005.10242), eq. 4.
    """
    check_views("(a, b)", (a, b))
    check_above("alpha", alpha)
    distance: Tensor = torch.linalg.vector_norm(full_precision(a) - full_precision(b), dim=1)
    return distance.pow(alpha).mean()


def uniformity(z: Tensor, t: float = 2.0, ids: Tensor | None = None) -> Tensor:
    """``log mean_{i != j} k(z_i, z_j)``: 0 iff all codes coincide, lower the further apart they are.

    On the sphere its least value is that of the uniform distribution. Where ids leave no pair it is 0.

    Args:
        z: ``(B, D)`` codes of one view; ``B >= 2`` over all ranks.
        t: above 0; 2 in the paper, 1 in SepCLR.
        ids: ``(B,)`` int64 content ids; pairs of one content are left out.

    Raises:
        ShapeError: inputs that do not fit, or one sample only.
        ConfigError: ``t`` out of its range.

    Cost: ``O(W B^2 D)`` time on each of W processes; memory as the kernel. Source: Wang & Isola 2020, eq. 5.
    """
    sums, others = _among_everyone("z", z, t, ids)
    pairs = gather(others.sum()[None]).sum()
    if not pairs:
        return 0.0 * z.sum()
    return gather(sums.logsumexp(dim=0, keepdim=True)).logsumexp(dim=0) - pairs.log()


def joint_entropy(codes: Sequence[Tensor], t: float = 1.0, ids: Tensor | None = None) -> Tensor:
    """``-mean_i log mean_j prod_k k(c^k_i, c^k_j)``, ``j`` running over ``i`` itself too: entropy by a kernel density.

    From 0 (all codes coincide) to the logarithm of the number of samples (all are far from each other). A product of
    Gaussians is a Gaussian of the joined vector, so ``joint_entropy([c, s])`` is ``joint_entropy([cat(c, s)])``. The
    additive constant of the density, which no gradient sees, is left out.

    Relations: to maximise it, while the entropies of the single codes are held up, is to minimise the mutual
    information ``I(c; s) = H(c) + H(s) - H(c, s)``. `uniformity` takes the logarithm of one mean over all pairs, this
    the mean of one logarithm per sample.

    Args:
        codes: one or more tensors ``(B, D_k)``: spaces of the same samples, of any widths; ``B >= 2`` over all ranks.
        t: above 0.
        ids: ``(B,)`` int64 content ids; pairs of one content are left out (a sample with itself is not).

    Returns:
        scalar; with several processes the mean over ranks is the entropy of all samples.

    Raises:
        ShapeError: inputs that do not fit, or one sample only.
        ConfigError: ``t`` out of its range.

    Cost: as `uniformity`. Source: Louiset et al. 2024 (SepCLR, k-JEM).
    """
    if not codes:
        raise ShapeError(message("codes", "none", "one tensor or more"))
    for number, code in enumerate(codes):
        check_rows(f"codes[{number}]", code)
        if len(code) != len(codes[0]):
            found, allowed = f"{len(code)} rows", f"{len(codes[0])} as in codes[0]"
            raise ShapeError(message(f"codes[{number}]", found, allowed, "Row i of every code is sample i."))
    sums, others = _among_everyone("codes", torch.cat([full_precision(code) for code in codes], dim=1), t, ids)
    # exp(0) = 1 for the sample itself: softplus(s) = log(1 + exp(s))
    return -(softplus(sums) - (1 + others).log()).mean()


def log_gaussian_sums(
    anchors: Tensor, candidates: Tensor, t: float, pairs: Pairs | None = None, *, tile: int | None = None
) -> Tensor:
    """``log sum_j k(a_i, c_j)`` over the candidates that count as negatives: ``(N,)``, of this process's rows alone.

    Args:
        anchors: ``(N, D)``.
        candidates: ``(M, D)``.
        t: above 0.
        pairs: who is compared, see `kernel`; None: all with all.
        tile: rows and columns of a tile; None chooses.

    Returns:
        float32 (float64 for float64 inputs); -inf for an anchor without a counted candidate.

    Raises:
        ShapeError: shapes, widths or keys that do not fit.
    """
    # No distance sees a common shift, and around 0 the differences of squares lose the fewest digits.
    centre = full_precision(candidates).detach().mean(dim=0)
    a, c = full_precision(anchors) - centre, full_precision(candidates) - centre
    # -|a - c|^2 / 2 as one product: a . c - |a|^2 / 2 - |c|^2 / 2
    half_a, half_c = (-0.5 * rows.square().sum(dim=1, keepdim=True) for rows in (a, c))
    left = torch.cat([a, half_a, torch.ones_like(half_a)], dim=1)
    right = torch.cat([c, torch.ones_like(half_c), half_c], dim=1)
    bound = t * (_largest(half_a) + _largest(half_c)) ** 2
    if a.dtype == torch.float32 and bound * torch.finfo(a.dtype).eps > COARSE:
        wide: Tensor = log_gaussian_sums(anchors.double(), candidates.double(), t, pairs, tile=tile)
        return wide.to(a.dtype)
    return kernel.logsumexp(left, right, 2.0 * t, pairs=pairs, bound=bound, tile=tile)


def _largest(half_square: Tensor) -> float:
    """The longest row, from ``-|row|^2 / 2``."""
    return float((-2.0 * half_square.detach().amin()).sqrt())


def _among_everyone(name: str, rows: Tensor, t: float, ids: Tensor | None) -> tuple[Tensor, Tensor]:
    """`log_gaussian_sums` of this process's rows among those of all that differ, and how many these are, ``(B,)``."""
    check_rows(name, rows)
    check_above("t", t)
    check_ids("ids", ids, len(rows))
    everyone, size = gather(full_precision(rows)), len(rows)
    if len(everyone) < 2:
        raise ShapeError(message(name, "1 sample", "2 or more over all ranks", "Raise the batch size."))
    start = rank() * size if world_size() > 1 else 0
    if ids is None:
        keys = Pairs(ids=(Cycle(start, size), Cycle(0, len(everyone))))
        others = everyone.new_full((size,), len(everyone) - 1)
    else:
        all_ids = gather(ids)
        keys = Pairs(ids=(ids, all_ids))
        _, kind, counts = torch.unique(all_ids, return_inverse=True, return_counts=True)
        others = (len(everyone) - counts[kind[start : start + size]]).to(everyone.dtype)
    return log_gaussian_sums(rows, everyone, t, keys), others
