"""What the monitors measure: a batch's pair of embeddings, and the encoder's features of samples held out.

Nothing here draws from a global random state or changes a model's statistics: watching a run must not change it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from counterpoint.evaluation.geometry import alignment, feature_std, healthy_std, rankme, uniformity
from counterpoint.evaluation.knn import knn_classify

Embed = Callable[[str], "tuple[Tensor, Tensor | None]"]
"""``"train"`` or ``"val"`` -> features ``(N, D)`` and labels ``(N,)`` with -1 for "unknown", or None."""

ROWS = 512
"""Rows of a batch that are looked at: enough for every statistic here, and a bound on the cost for any batch size."""
WIDE_ROWS = 256
"""The same where embeddings are wider than ``ROWS``, since the rank's cost grows with the cube of the smaller side."""
QUEUED = 4096
"""Rows of a memory that are looked at."""
ANCHORS = 128
"""Rows whose scores with all others make the negatives' histogram."""


def batch_measures(a: Tensor, b: Tensor, content: Tensor) -> tuple[dict[str, float], Tensor, Tensor]:
    """Statistics of the two embeddings of a batch.

    Args:
        a: ``(B, D)`` embeddings of one view, detached.
        b: ``(B, D)`` embeddings of another view of the same samples.
        content: ``(B,)`` content ids; 0 is "not known".

    Returns:
        Named values, the positive scores ``(R,)`` and the negative scores, both cosines in [-1, 1]. The values:
        ``batch/std``, the smaller of the two views' mean std over dimensions, times ``sqrt(D)`` (1 healthy, 0 none);
        ``batch/rankme``, from 1 to ``batch/rank_limit``, which is ``min(R, D)``; ``batch/alignment``,
        ``batch/uniformity``; ``batch/positive`` and ``batch/negative``, mean scores; ``batch/positive_variance``, and
        ``batch/negative_variance``, that of an anchor's negatives, mean over anchors. Where an embedding is not finite:
        ``batch/std`` alone, NaN. For fewer than two rows: nothing.
    """
    rows = min(len(a), ROWS if a.shape[1] <= ROWS else WIDE_ROWS)
    a, b = (nn.functional.normalize(z[:rows].float().cpu(), dim=1) for z in (a, b))
    empty = a.new_zeros(0)
    if rows < 2 or not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return ({} if rows < 2 else {"batch/std": float("nan")}), empty, empty
    positive = (a * b).sum(dim=1)
    negative, variance = _negatives(a, b, content[:rows].cpu(), content[:rows].cpu())
    values = {
        "batch/std": min(feature_std(a), feature_std(b)) / healthy_std(a.shape[1]),
        "batch/rankme": rankme(a),
        "batch/rank_limit": float(min(a.shape)),
        "batch/alignment": alignment(a, b),
        "batch/uniformity": uniformity(a),
        "batch/positive": float(positive.mean()),
        "batch/positive_variance": float(positive.var(correction=0)),
    }
    if len(negative):
        values |= {"batch/negative": float(negative.mean()), "batch/negative_variance": variance}
    return values, positive, negative


def queue_measures(a: Tensor, queue: Tensor, content: Tensor, queue_content: Tensor) -> tuple[dict[str, float], Tensor]:
    """Scores of a batch's embeddings with a memory's rows.

    Args:
        a: ``(B, D)`` embeddings, detached.
        queue: ``(M, D)`` rows of the memory.
        content: ``(B,)`` content ids; 0 is "not known".
        queue_content: ``(M,)`` those of the rows.

    Returns:
        ``queue/negative``, the mean score with rows of other content, and ``queue/negative_variance``, that of an
        anchor's, mean over anchors; and the scores. Nothing where there is none, or where one is not finite.
    """
    a, queue = (nn.functional.normalize(z.float().cpu(), dim=1) for z in (a[:ANCHORS], queue[:QUEUED]))
    if not bool(torch.isfinite(a).all() and torch.isfinite(queue).all()):
        return {}, a.new_zeros(0)
    scores, variance = _negatives(a, queue, content.cpu(), queue_content[:QUEUED].cpu(), same=False)
    if not len(scores):
        return {}, scores
    return {"queue/negative": float(scores.mean()), "queue/negative_variance": variance}, scores


def _negatives(a: Tensor, b: Tensor, content: Tensor, others: Tensor, same: bool = True) -> tuple[Tensor, float]:
    """Scores of the first rows of ``a`` with the rows of ``b`` that are of other content, and their mean variance.

    ``same``: row i of both is sample i, and never counted.
    """
    anchors = min(len(a), ANCHORS)
    counted = torch.ones(anchors, len(b), dtype=torch.bool)
    if same:
        counted.fill_diagonal_(False)
    if len(others) == len(b):
        counted &= (content[:anchors, None] != others) | (others == 0)
    scores = a[:anchors] @ b.T
    number = counted.sum(dim=1)
    mean = (scores * counted).sum(dim=1) / number.clamp(min=1)
    variance = ((scores - mean[:, None]).square() * counted).sum(dim=1) / number.clamp(min=1)
    return scores[counted], float(variance[number > 0].mean()) if bool(number.any()) else 0.0


def duplicate_share(content: Tensor) -> float:
    """Share of a batch's rows whose content another row before them has already, 0 to below 1; id 0 is "not known"."""
    known = content[content != 0]
    return 1 - (len(content) - len(known) + len(torch.unique(known))) / max(1, len(content))


def encoder_measures(embed: Embed, k: int = 20, temperature: float = 0.07) -> dict[str, float]:
    """Statistics of the encoder's features of the validation subset; kNN accuracy where both splits have labels.

    Returns:
        ``rankme``, ``std`` (times ``sqrt(D)``), ``uniformity``; ``knn[k=20,T=0.07]``, accuracy 0 to 1, and ``queries``,
        how many it is measured on. Where a feature is not finite: ``std`` alone, NaN. For fewer than two rows: nothing.
    """
    features, labels = embed("val")
    features = features.detach().float().cpu()
    if len(features) < 2:
        return {}
    if not bool(torch.isfinite(features).all()):
        return {"std": float("nan")}
    values = {
        "rankme": rankme(features),
        "std": feature_std(features) / healthy_std(features.shape[1]),
        "uniformity": uniformity(features),
    }
    if labels is not None and bool((labels >= 0).any()):
        values |= _knn(embed, features, labels.cpu(), k, temperature)
    return values


def _knn(embed: Embed, features: Tensor, labels: Tensor, k: int, temperature: float) -> dict[str, float]:
    bank, answers = embed("train")
    bank = bank.detach().float().cpu()
    if answers is None or not bool((answers >= 0).any()) or not bool(torch.isfinite(bank).all()):
        return {}
    known = labels >= 0
    predicted = knn_classify(bank, answers.cpu(), features[known], k=k, temperature=temperature)
    accuracy = float((predicted == labels[known]).double().mean())
    return {f"knn[k={k},T={temperature:g}]": accuracy, "queries": float(known.sum())}


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each submodule's mode and all random states are as before."""
    modes = [(part, part.training) for part in module.modules()]
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for device, state in enumerate(cuda):
            torch.cuda.set_rng_state(state, device)
