"""Sinkhorn-Knopp: soft assignments of samples to prototypes that use every prototype equally."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint.objectives._inputs import check_above, check_rows, full_precision, no_autocast
from counterpoint.objectives._logsumexp import FAST, LOG2E
from counterpoint.objectives._sums import logsumexp_over_ranks
from counterpoint.objectives.gather import world_size

MARGIN = 0.75
"""Of `FAST`: two factors stand beside each power, and their product with it must be a normal number too."""


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Codes ``Q`` that spread the samples over the prototypes: entropic optimal transport with equal marginals.

    Starting from ``exp(scores / epsilon)``, each iteration scales every prototype (column) to the same total over the
    samples of *all ranks*, then every sample (row) to 1::

        Q[:, k] /= sum_i Q[i, k]        then        Q[i, :] /= sum_k Q[i, k]

    The paper's constants (the total sum, ``1/K``, ``1/B``) cancel, so they are left out. Computed in at least float32
    and in the log domain, since ``exp(1 / epsilon)`` overflows float32 for epsilon = 0.01; in one process on a CPU,
    where the largest ``|score| / epsilon`` allows it, by one exponential and products with it.

    Limits: ``epsilon -> 0`` gives a hard balanced assignment, ``epsilon -> inf`` uniform codes. A constant added to a
    prototype's scores changes nothing.

    Args:
        scores: ``(B, K)`` similarities of this rank's ``B`` samples to ``K`` prototypes (cosines in SwAV).
        epsilon: entropy of the codes, above 0; SwAV 0.05, 0.03 against collapse.
        iterations: at least 1; after 3 the prototypes' totals are only roughly equal (exact in the limit).

    Returns:
        ``(B, K)`` codes without gradient; every row sums to 1.

    Raises:
        ShapeError: ``scores`` is not a floating-point matrix.
        ConfigError: ``epsilon <= 0`` or ``iterations < 1``.

    Cost: ``2 * iterations`` passes over ``(B, K)``; with several processes two all-reduces of ``K`` numbers an
    iteration. Source: Caron et al. 2020 (SwAV), section 3.1 and equation 3; Cuturi 2013.
    """
    check_rows("scores", scores)
    check_above("epsilon", epsilon)
    if iterations < 1:
        todo = "The last half of an iteration is what makes each code sum to 1."
        raise ConfigError(message("iterations", iterations, "1 or more", todo))
    scores = full_precision(scores)
    if _allows_powers(scores, epsilon):
        with no_autocast(scores):
            return _by_powers(scores, epsilon, iterations)
    log_codes = scores / epsilon
    for _ in range(iterations):
        log_codes = log_codes - logsumexp_over_ranks(log_codes)
        log_codes = log_codes.log_softmax(dim=1)
    return log_codes.exp()


def _allows_powers(scores: Tensor, epsilon: float) -> bool:
    """Where it costs nothing to know: a GPU would wait for the answer, and ranks might disagree on it."""
    if scores.device.type != "cpu" or world_size() > 1:
        return False
    least, most = (float(bound) for bound in scores.aminmax())
    allowed = MARGIN * FAST[scores.dtype] * epsilon
    return -allowed <= least and most <= allowed  # neither holds for NaN


def _by_powers(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The same codes as ``row * powers * column``, of which an iteration changes the two vectors only.

    Columns get totals of B / K, so that neither vector drifts: ones would make one grow and the other shrink.
    """
    powers = (scores * (LOG2E / epsilon)).exp2_()
    row = powers.new_ones(len(powers))
    total = powers.shape[0] / powers.shape[1]
    for _ in range(iterations):
        column = total / (row @ powers)
        row = (powers @ column).reciprocal_()
    return powers.mul_(row[:, None]).mul_(column)
