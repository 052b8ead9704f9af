"""Decoupled contrastive learning: NT-Xent without the positive in the denominator."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from counterpoint.objectives._contrast import PosWeight
from counterpoint.objectives.base import Result
from counterpoint.objectives.nt_xent import NTXent, nt_xent_loss

__all__ = ["DCL", "dcl_loss"]


def dcl_loss(
    embeddings: Sequence[Tensor],
    ids: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_ids: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.1,
    symmetric: bool = True,
    in_batch: bool = True,
    pos_weight: PosWeight | None = None,
    sigma: float = 0.5,
    weight_gradient: bool = False,
) -> Result:
    """Pull the positive and push the negatives, without the one weakening the other.

    With ``U[a, i]`` as in `nt_xent_loss` (two views: 2B - 2 negatives), ``s`` the similarity over the temperature t::

        L[a, b, i] = - w[i] s(z[a, i], z[b, i]) + log U[a, i]              mean over ordered pairs (a, b) and samples
        w[i] = 1, or with pos_weight="neg_vmf" (DCLW)
        w[i] = 2 - exp(cos[i] / sigma) / mean_m exp(cos[m] / sigma)        cos[i] = z[a, i] . z[b, i]

    In InfoNCE each anchor's gradient carries the factor ``q = 1 - p(positive)``: small batches and easy positives
    make it small. Exactly: ``L_InfoNCE gradient = q * L_DCL gradient`` and ``L_DCL = L_InfoNCE + log q``, anchor by
    anchor. Negative values are normal: ``-2/t + log(2B - 2) <= L <= 2/t + log(2B - 2)`` with t the temperature. The
    weights have mean 1 over the batch (of all ranks) and may be negative for very easy positives.

    **Relations.** The gradient is larger than NT-Xent's (no ``q < 1``): match the learning rate to compare. In MoCo:
    ``([q, k], negatives=queue, symmetric=False, in_batch=False)``, which is ``-s + logsumexp(queue)``. Between two
    modalities: ``info_nce_loss(..., decoupled=True)``. As the number of negatives grows, ``q -> 1`` and both agree.

    **Several processes, cost, arguments, parts, errors**: as `nt_xent_loss`. An anchor without any negative (all others
    are its duplicates) adds 0. ``weight_gradient``: whether the gradient flows through ``w`` (a weight should not be
    optimised, so by default it does not).

    Source: Yeh et al. 2022 (arXiv 2110.06848), eqs. 4 to 6.
    """
    return nt_xent_loss(
        embeddings,
        ids,
        negatives,
        negative_ids,
        temperature=temperature,
        symmetric=symmetric,
        in_batch=in_batch,
        decoupled=True,
        pos_weight=pos_weight,
        sigma=sigma,
        weight_gradient=weight_gradient,
    )


class DCL(NTXent):
    """`dcl_loss` as a module: `NTXent` with ``decoupled=True``.

    Args:
        temperature: above 0 (learnable: its start, 0.01 or more).
        pos_weight: None (DCL) or ``"neg_vmf"`` (DCLW).
        sigma: width of that weight, above 0.
        symmetric: every view is the anchor in turn; else only the first. None: only where there is no queue.
        in_batch: the batch's other samples are negatives; else only the queue's rows are. None: without a queue.
        learnable_temperature: learn the logarithm of 1 / temperature, held at 100 or below (CLIP).
        weight_gradient: let the gradient flow through the weight.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        pos_weight: PosWeight | None = None,
        sigma: float = 0.5,
        symmetric: bool | None = None,
        in_batch: bool | None = None,
        learnable_temperature: bool = False,
        weight_gradient: bool = False,
    ) -> None:
        super().__init__(
            temperature=temperature,
            symmetric=symmetric,
            in_batch=in_batch,
            learnable_temperature=learnable_temperature,
            decoupled=True,
            pos_weight=pos_weight,
            sigma=sigma,
            weight_gradient=weight_gradient,
        )
