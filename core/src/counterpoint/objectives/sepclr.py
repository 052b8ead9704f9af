"""SepCLR: what two sets of samples have in common and what only one of them has, in two spaces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.objectives._inputs import check_above, check_at_least, check_views, full_precision
from counterpoint.objectives._rows import check_finite_rows, check_ids
from counterpoint.objectives._sums import sum_over_ranks
from counterpoint.objectives._unit import unit_rows
from counterpoint.objectives.base import Objective, Parts, Reduction, Result
from counterpoint.objectives.density import alignment, joint_entropy, uniformity


def null_code(codes: Tensor, background: Tensor) -> Tensor:
    """``(B, D)`` codes with 0 in the ``background`` rows ``(B,)``, through which no gradient flows."""
    return torch.where(background[:, None], codes.new_zeros(()), codes)


def sepclr_loss(
    common: Sequence[Tensor],
    salient: Sequence[Tensor],
    background: Tensor,
    ids: Tensor | None = None,
    salient_weight: float = 1000.0,
    null_weight: float = 1000.0,
    entropy_weight: float = 10.0,
    t: float = 1.0,
) -> Result:
    """Align and spread both codes, hold the salient code of the background at 0, keep the two codes independent.

    Views ``a``, ``b``; ``c`` common codes on the unit sphere; ``s`` salient codes as they come, and ``n`` the same with
    0 for the background; ``k(x, y) = exp(-t |x - y|^2)``::

        C = t mean_i |c^a - c^b|^2            + sum_views log mean_{i != j} k(c_i, c_j)
        S = t mean_{i target} |s^a - s^b|^2   + sum_views log mean_{i != j} k(n_i, n_j)
        N = t mean_{i background} |s_i|^2                                   (mean over views)
        J = mean_i log mean_j k(c_i, c_j) k(n_i, n_j)                       (mean over views, j = i included)
        L = C + salient_weight * S + null_weight * N + entropy_weight * J

    ``J`` is minus the joint entropy of both codes by a kernel density. ``C`` and ``S`` hold up the entropy of each code
    by itself, so that what ``J`` lessens is the mutual information ``I(c; s) = H(c) + H(s) - H(c, s)``. Of more than
    two views: alignment is the mean over pairs, each sum over views twice their mean.

    Pairs of background samples are at distance 0 in ``n``: with ``b`` of ``B`` samples from the background the last
    term of ``S`` stays above ``log(b (b - 1) / (B (B - 1)))``. Without a target ``S`` has no alignment, without
    background ``N`` is 0: sample both into every batch.

    Args:
        common: ``V >= 2`` tensors ``(B, D)``, normalised here.
        salient: as many tensors ``(B, E)``, not normalised, so that the background can go to 0.
        background: ``(B,)`` bool, True for samples of the background.
        ids: ``(B,)`` int64 content ids; samples of one content do not push each other.
        salient_weight: of ``S``, at least 0 (paper: 1000; 1 for small medical sets).
        null_weight: of ``N``, at least 0 (paper: 1000; 10 to 100 there).
        entropy_weight: of ``J``, at least 0 (paper: 10). 0: nothing keeps the codes independent.
        t: of the kernel, above 0: ``1 / (2 variance)`` (paper: variance 0.5, so 1).

    Returns:
        loss; parts ``common``, ``salient``, ``null``, ``joint_entropy`` (= -J), not weighted, and
        ``background_norm``, ``target_norm``: mean length of the salient code of background (which should go to 0) and
        targets.

    Raises:
        ShapeError: inputs that do not fit, one sample only, or a NaN row (named).
        ConfigError: a setting out of its range.

    Over ranks: everybody's rows are compared; means over targets and over background are those of all ranks. Cost:
    ``O(V B^2 (D + E))`` time, memory as the kernel. Source: Louiset et al. 2024 (ICLR) and the released code, whose
    alignment is the plain squared distance in both spaces.
    """
    _check_settings(salient_weight, null_weight, entropy_weight, t)
    _check(common, salient, background, ids)
    sphere = [unit_rows(view) for view in common]
    codes = [full_precision(view) for view in salient]
    nulled = [null_code(view, background) for view in codes]
    pairs = list(combinations(range(len(codes)), 2))
    shared = t * _mean([alignment(sphere[a], sphere[b]) for a, b in pairs]) + _spread(sphere, t, ids)
    together = t * _mean([_mean_square(codes[a] - codes[b], ~background) for a, b in pairs]) + _spread(nulled, t, ids)
    null = t * _mean([_mean_square(view, background) for view in codes])
    entropy = _mean([joint_entropy([c, n], t, ids) for c, n in zip(sphere, nulled)])
    loss = shared + salient_weight * together + null_weight * null - entropy_weight * entropy
    spaces = {"common": common, "salient": salient}
    check_finite_rows(loss, {f"{name}[{n}]": view for name, space in spaces.items() for n, view in enumerate(space)})
    terms = {"common": shared, "salient": together, "null": null, "joint_entropy": entropy}
    told = {name: term.detach() for name, term in terms.items()}
    lengths = _mean([view.detach().norm(dim=1) for view in codes])
    return Result(loss, Parts(lambda: {**told, **_lengths(lengths, background)}))


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(dim=0)


def _spread(views: Sequence[Tensor], t: float, ids: Tensor | None) -> Tensor:
    """Twice the mean over views of their uniformity: the plain sum of two."""
    return 2.0 * _mean([uniformity(view, t, ids) for view in views])


def _mean_square(rows: Tensor, chosen: Tensor) -> Tensor:
    """Mean squared length of the chosen rows of all ranks; 0 where there are none."""
    squares = rows.square().sum(dim=1)
    total, count = sum_over_ranks((squares * chosen).sum()), sum_over_ranks(chosen.sum())
    return total / count.clamp_min(1)


def _lengths(lengths: Tensor, background: Tensor) -> dict[str, Tensor]:
    """Mean length by origin; nothing for an origin that is not in the batch."""
    rows = {"background_norm": lengths[background], "target_norm": lengths[~background]}
    return {name: found.mean() for name, found in rows.items() if len(found)}


def _check(common: Sequence[Tensor], salient: Sequence[Tensor], background: Tensor, ids: Tensor | None) -> None:
    check_views("common", common)
    check_views("salient", salient)
    size = len(common[0])
    if len(common) != len(salient) or size != len(salient[0]):
        found = f"{len(salient)} view(s) of {len(salient[0])} rows"
        raise ShapeError(message("salient", found, f"{len(common)} of {size}, as in common"))
    if background.dtype != torch.bool or tuple(background.shape) != (size,):
        found = f"{background.dtype} {tuple(background.shape)}"
        raise ShapeError(message("background", found, f"bool ({size},), True for background"))
    check_ids("ids", ids, size)


def _check_settings(salient_weight: float, null_weight: float, entropy_weight: float, t: float) -> None:
    check_at_least("salient_weight", salient_weight)
    check_at_least("null_weight", null_weight)
    check_at_least("entropy_weight", entropy_weight)
    check_above("t", t)


class SepCLR(Objective):
    """`sepclr_loss` as a module.

    Relations: the common term with ``t = 1`` is alignment and uniformity of Wang & Isola; the salient term is the same
    off the sphere, with the background as one more point, 0, that targets keep away from.

    Args:
        salient_weight: of the salient code's alignment and spread, at least 0.
        null_weight: of the background's salient code, which goes to 0; at least 0.
        entropy_weight: of the joint entropy, which keeps the codes independent; at least 0.
        t: of the kernel ``exp(-t |x - y|^2)``, above 0.

    It has no chance level: where all codes coincide all terms but the null one are 0, and training goes below.

    Raises:
        ConfigError: a setting out of its range.
    """

    reduction: ClassVar[Reduction] = "gather"

    def __init__(
        self,
        salient_weight: float = 1000.0,
        null_weight: float = 1000.0,
        entropy_weight: float = 10.0,
        t: float = 1.0,
    ) -> None:
        super().__init__()
        _check_settings(salient_weight, null_weight, entropy_weight, t)
        self.salient_weight = salient_weight
        self.null_weight = null_weight
        self.entropy_weight = entropy_weight
        self.t = t

    def forward(
        self, common: Sequence[Tensor], salient: Sequence[Tensor], background: Tensor, ids: Tensor | None = None
    ) -> Result:
        """See `sepclr_loss`."""
        weights = self.salient_weight, self.null_weight, self.entropy_weight
        return sepclr_loss(common, salient, background, ids, *weights, self.t)
