"""InfoNCE between views: MoCo's, CLIP's and CPC's objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from counterpoint.objectives import kernel
from counterpoint.objectives._contrast import Contrast, Options, PosWeight, bound, contrast, join, with_queue
from counterpoint.objectives._rows import Rows
from counterpoint.objectives.base import Result

__all__ = ["InfoNCE", "info_nce_loss"]


def info_nce_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    symmetric: bool = True,
    in_batch: bool = True,
    decoupled: bool = False,
    pos_weight: PosWeight | None = None,
    sigma: float = 0.5,
    weight_gradient: bool = False,
    label_smoothing: float = 0.0,
) -> Result:
    """Find, for each row of one view, its sample among the rows of another.

    With unit rows ``z[v, i]`` of view ``v`` and sample ``i`` and ``s(x, y) = x . y / temperature``::

        U[a, b, i] = sum over samples j of other ids of exp s(z[a, i], z[b, j])
                     + sum over the queue's rows n of exp s(z[a, i], n)
        L[a, b, i] = - s(z[a, i], z[b, i]) + log(exp s(z[a, i], z[b, i]) + U[a, b, i])
        L = mean over ordered pairs (a, b) of views and samples i

    With ``label_smoothing`` a, where ``p`` is the softmax over the K candidates of an anchor (the positive and what
    ``U`` sums over)::

        L[a, b, i] = (1 - a) (- log p[positive])  +  a / K  sum over candidates k of (- log p[k])

    **Relations.** MoCo v2: ``([q, k], negatives=queue, symmetric=False, in_batch=False)``; MoCo v3: the mean of
    ``([q1, k2])`` and ``([q2, k1])`` with ``symmetric=False``; CLIP: ``([image, text])`` with a learnable temperature.
    `nt_xent_loss` also takes the anchor's own view into ``U``. ``decoupled`` drops ``exp s`` of the positive from the
    logarithm (`dcl_loss`).

    **Several processes.** The rows of all ranks are candidates, with gradients (reduction ``"gather"``). The queue is
    each rank's own and is not gathered: keep it equal on all ranks to have the loss of one process.

    **Cost.** Four products of ``B x B x D`` for two views; memory ``O(B D)``. Label smoothing adds ``O(B D)``: its term
    is linear in the candidates.

    Args:
        embeddings: two or more views, each ``(B, D)``, any length: they are normalised here, in float32. A zero row
            has similarity 0 to all and gets no gradient. A view without gradient costs less.
        ids: ``(B,)`` int64 content ids; samples of equal id are never negatives of each other. None: all differ.
        negatives: ``(M, D)`` further negatives, without gradient.
        negative_ids: ``(M,)`` int64 content ids of these.
        temperature: above 0, usually 0.05 to 0.5; a scalar tensor takes its gradient.
        symmetric: every view is the anchor in turn; else only the first.
        in_batch: the batch's other samples are negatives; else only ``negatives`` are.
        decoupled: drop the positive from the denominator.
        pos_weight: ``"neg_vmf"``: weight the positive by ``w[i] = 2 - exp(cos[i] / sigma) / mean(exp(cos / sigma))``.
        sigma: width of that weight, above 0.
        weight_gradient: let the gradient flow through the weight.
        label_smoothing: share of the label that is spread over all candidates, in [0, 1); neither with ``decoupled``
            nor with ``pos_weight``. The positive's similarity then has an optimum short of "as far above as can be".

    Returns:
        loss; parts ``positive`` (mean cosine of positives), ``p_positive`` (mean probability of the positive),
        ``q_mean``, ``q_std`` (of 1 - that probability).

    Raises:
        ShapeError: inputs that do not fit, no negative at all, or a NaN row (named).
        ConfigError: an option out of its range.

    Source: van den Oord et al. 2018 (arXiv 1807.03748), eq. 4; He et al. 2020 (1911.05722), eq. 1; smoothing between
    image and text: Fini et al. 2023 (2305.08675).
    """
    options = Options(symmetric, in_batch, decoupled, pos_weight, sigma, weight_gradient, label_smoothing)
    return contrast(embeddings, ids, negatives, negative_ids, temperature, options, cross_negatives, cross=True)


def cross_negatives(rows: Rows, scale: float | Tensor, options: Options) -> Tensor:
    """Log-sum-exps of the negatives, ``(ordered pairs, B)``."""
    wanted = options.pairs(len(rows.views))
    found: dict[tuple[int, int], Tensor | None] = dict.fromkeys(wanted)
    if options.in_batch:
        pairs = kernel.Pairs(ids=(rows.keys(), rows.all_keys()))
        for a, b in wanted:
            if found[a, b] is not None:
                continue
            if rows.alone and options.symmetric:
                found[a, b], found[b, a] = kernel.logsumexp_both(
                    rows.views[a], rows.views[b], scale, pairs=pairs, bound=bound(scale)
                )
            else:
                found[a, b] = kernel.logsumexp(rows.views[a], rows.everyone[b], scale, pairs=pairs, bound=bound(scale))
    if rows.queue is None:
        return torch.stack([row for row in found.values() if row is not None])
    # A queue is older than both views: an anchor is compared with it once, whatever its positive.
    queued = {a: with_queue(rows, rows.views[a], None, scale) for a, _ in wanted}
    return torch.stack([queued[a] if row is None else join([row, queued[a]]) for (a, _), row in found.items()])


class InfoNCE(Contrast):
    """`info_nce_loss` as a module.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives; else only the queue's rows are. None: without a queue.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below (CLIP).
        decoupled: drop the positive from the denominator.
        pos_weight: None or ``"neg_vmf"`` (DCLW).
        sigma: width of that weight, above 0.
        weight_gradient: let the gradient flow through the weight.
        label_smoothing: share of the label that is spread over all candidates, in [0, 1).

    Raises:
        ConfigError: a setting out of its range.
    """

    _every_view = False
    _collect = staticmethod(cross_negatives)

    def __init__(
        self,
        temperature: float = 0.1,
        symmetric: bool | None = None,
        in_batch: bool | None = None,
        learnable_temperature: bool = False,
        decoupled: bool = False,
        pos_weight: PosWeight | None = None,
        sigma: float = 0.5,
        weight_gradient: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            temperature, symmetric, in_batch, learnable_temperature, decoupled, pos_weight, sigma, weight_gradient
        )
        self.options = replace(self.options, label_smoothing=label_smoothing)
