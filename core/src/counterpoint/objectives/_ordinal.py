"""Labels that are ordered: how far apart they are, and which pairs of samples lie on either side of another."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from counterpoint.errors import ShapeError, message
from counterpoint.objectives._positives import class_numbers

Distance = Literal["none", "L1", "L2"]


def magnified(distance: Tensor, kind: Distance) -> Tensor:
    """Log of the weight of a label distance: of ``d + 1`` (L1) or ``d^2 + 1`` (L2); an unknown one (NaN) weighs 1."""
    if kind == "none":
        return torch.zeros_like(distance)
    known = torch.nan_to_num(distance, nan=0.0).abs()
    return torch.log1p(known if kind == "L1" else known.square())


def levels(
    targets: Tensor | None, unit: float | None, ids: Tensor | None, like: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Targets in units, and samples of equal target (or, where it is not known, of equal content) as one class.

    Args:
        targets: ``(size,)`` with NaN where unknown, or None: all unknown.
        unit: round to whole multiples of this, and count in them; None: as they are.
        ids: ``(size,)`` content ids, or None.
        like: rows whose precision and device the targets take.
        size: number of samples.

    Returns:
        ``(size,)`` targets above the smallest, that of another sample of equal content where the own is unknown;
        ``(size,)`` int64 class numbers from 0.

    Raises:
        ShapeError: a range of targets beyond the rows' precision.
    """
    if targets is None:
        return like.new_full((size,), torch.nan), class_numbers(ids, None, size, like.device)
    exact = targets.double() if unit is None else (targets.double() / unit).round()
    known = ~torch.isnan(exact)
    labels = torch.full((size,), -1, dtype=torch.int64, device=exact.device)
    labels[known] = torch.unique(exact[known], return_inverse=True)[1]
    # Only differences count, and those of large numbers would not survive float32.
    values = (exact - exact[known].min() if bool(known.any()) else exact).to(like)
    if bool(torch.isinf(values).any()):
        raise ShapeError(message("targets", "a range beyond float32", "a smaller one, or a larger unit"))
    labels = labels.to(like.device)
    known = known.to(like.device)
    classes = class_numbers(ids, labels, size, like.device)
    of_class = like.new_full((int(classes.max()) + 1,), torch.nan)
    of_class[classes[known]] = values[known]
    return of_class[classes], classes


def check_targets(targets: Tensor | None, size: int) -> None:
    """One floating-point number per sample, finite or NaN.

    Raises:
        ShapeError: another shape or type, or an infinite target.
    """
    if targets is None:
        return
    if tuple(targets.shape) != (size,) or not targets.is_floating_point():
        found = f"{targets.dtype} {tuple(targets.shape)}"
        raise ShapeError(message("targets", found, f"floating point ({size},)", "NaN says that one is unknown."))
    infinite = int(torch.isinf(targets).sum())
    if infinite:
        raise ShapeError(message("targets", f"{infinite} infinite", "finite numbers, or NaN for unknown"))


class Triples(NamedTuple):
    """For each of n anchors up to T pairs of rows, ``(n, T)`` each.

    Attributes:
        below: int64 position of a row of smaller target.
        above: int64 position of a row of larger target.
        share: of ``below`` in the mixture whose interpolated target is the anchor's; strictly between 0 and 1.
        times: how many pairs each stands for; 0 where there is none.
    """

    below: Tensor
    above: Tensor
    share: Tensor
    times: Tensor


class Neighbours:
    """Rows by target, so that those within a window on either side of a target are two slices.

    Args:
        targets: ``(M,)``, NaN for unknown.
        window: targets count that are nearer than this, above 0.
    """

    def __init__(self, targets: Tensor, window: float) -> None:
        ordered, self.order = targets.sort()  # NaN comes last
        self.ordered = ordered[: int((~torch.isnan(ordered)).sum())]
        self.window = window

    def triples(self, targets: Tensor, most: int) -> Triples:
        """Pairs on either side of each target ``(n,)``; above ``most`` (0: all) so many at even intervals, drawn anew.

        Each pair is as likely as any other, and ``times`` makes up for those left out: sums over triples, weighted by
        it, have the expectation of the sums over all.
        """
        start, stop = self._between(targets - self.window, targets)
        first, last = self._between(targets, targets + self.window)
        width = last - first
        pairs = ((stop - start) * width).masked_fill(torch.isnan(targets), 0)[:, None]
        taken = pairs.clamp_max(most) if most else pairs
        columns = torch.arange(int(taken.max()), device=targets.device)
        number = self._numbers(columns, pairs, taken)
        width, last_row = width[:, None].clamp_min(1), len(self.ordered) - 1
        below = (start[:, None] + number // width).clamp_max(last_row)
        above = (first[:, None] + number % width).clamp_max(last_row)
        low, high = self.ordered[below], self.ordered[above]
        there = columns < taken
        share = torch.where(there, (high - targets[:, None]) / (high - low), 0.5)
        times = torch.where(there, pairs / taken.clamp_min(1), 0.0).to(targets.dtype)
        return Triples(self.order[below], self.order[above], share, times)

    @staticmethod
    def _numbers(columns: Tensor, pairs: Tensor, taken: Tensor) -> Tensor:
        """Which of the ``pairs`` ``(n, 1)`` are taken, ``(n, T)``: all, or one somewhere in each of even intervals."""
        jitter = torch.rand(len(pairs), len(columns), device=pairs.device, dtype=torch.float64)
        spread = ((columns + jitter) * (pairs.double() / taken.clamp_min(1))).long()
        return torch.minimum(torch.where(pairs == taken, columns, spread), (pairs - 1).clamp_min(0))

    def _between(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Slices of the rows whose target is above ``low`` and below ``high``."""
        start = torch.searchsorted(self.ordered, low, right=True)
        return start, torch.maximum(start, torch.searchsorted(self.ordered, high))
