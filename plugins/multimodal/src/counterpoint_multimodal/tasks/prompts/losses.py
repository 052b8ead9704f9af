"""GOPro's three terms. With text embeddings ``T`` (B, K, D) of the original, the MoCo and the AugMix view::

    loss = L_ce + w_sem L_sem + w_con L_con
    L_ce  = cross-entropy of <f, T_k> / temperature
    L_sem = mean (T - T')^2 + mean (T - T'')^2       over batch, classes and dimensions
    L_con = NT-Xent of P_v(f) and P_v(f') at temperature 0.1

Source: Singha et al. 2023 (arXiv 2308.11605), and its released code for what the text leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from counterpoint.objectives import nt_xent_loss

TEMPERATURE = 0.1
"""Of the visual contrast."""


def prompt_logits(image: Tensor, text: Tensor, temperature: float) -> Tensor:
    """``(B, K)`` logits of images ``(B, D)`` under prompts ``(B, K, D)`` or ``(1, K, D)``; all rows of length 1."""
    return torch.einsum("bd,bkd->bk", image, text.expand(len(image), -1, -1)) / temperature


def consistency(texts: Sequence[Tensor]) -> Tensor:
    """``L_sem``: squared distance of the first ``(B, K, D)`` from each other one; no side is held fixed.

    At most 4 / D a term, as rows have length 1: it regularises, it does not rule.
    """
    return torch.stack([(texts[0] - other).square().mean() for other in texts[1:]]).sum()


def visual_contrast(a: Tensor, b: Tensor, ids: Tensor | None = None) -> Tensor:
    """``L_con`` of two views ``(B, D)``; 0 where nothing is there to tell apart (a batch of one image).

    Args:
        a: projected original views.
        b: projected MoCo views, row by row of the same images.
        ids: ``(B,)`` content ids; equal ones are not told apart.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    return nt_xent_loss([a, b], ids, temperature=TEMPERATURE).loss
