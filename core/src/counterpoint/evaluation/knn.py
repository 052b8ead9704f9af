"""Weighted k-nearest-neighbour classification: exact, in tiles, without a parameter to train.

For a test row z with neighbours N_k(z) of the train bank by cosine s_i, class c scores
``p_c = sum_{i in N_k(z)} exp(s_i / T) 1[y_i = c]`` and the largest wins.

Source: Wu et al. 2018 (InstDisc), k = 200, T = 0.07; Caron et al. 2021 (DINO), k = 20 usually best.
"""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation._topk import merge, topk

TILE = 65_536
"""Bank rows per tile."""
SCORES = 10_000_000
"""Scores held at a time (40 MB of float32): enough queries per block for the product to run at full speed."""


def knn_search(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` rows of ``bank`` with the largest inner product, for each query; exact.

    Normalise both first for cosine. Memory is a tile of scores (40 MB) beside the result, whatever the sizes; time is
    that of the product ``queries @ bank.T`` and about half as much again at k = 200.

    Args:
        queries: ``(Q, D)``; ``Q`` may be 0.
        bank: ``(N, D)``.
        k: 1 to ``N``.

    Returns:
        scores ``(Q, k)``, falling; indices ``(Q, k)`` int64 into ``bank``. Equal scores: the lower index first.

    Raises:
        ShapeError: widths that differ, an empty bank, a row with NaN or infinity.
        ConfigError: ``k`` below 1 or above ``N``.
    """
    bank = _check.features("bank", bank)
    queries = _check.features("queries", queries, dim=bank.shape[1], dtype=bank.dtype)
    _check.rows("bank", bank, 1)
    _check.at_least("k", k)
    if k > bank.shape[0]:
        raise ConfigError(message("k", k, f"1 to {bank.shape[0]}, the rows of the bank", "Use a smaller k."))
    tile = min(TILE, bank.shape[0])
    block = max(1, SCORES // tile)
    buffer = bank.new_empty(min(block, max(1, queries.shape[0])) * tile)
    scores = bank.new_empty(queries.shape[0], k)
    indices = torch.empty(queries.shape[0], k, dtype=torch.int64, device=bank.device)
    for start in range(0, queries.shape[0], block):
        part = slice(start, start + block)
        scores[part], indices[part] = _search_block(queries[part], bank, k, tile, buffer)
    return scores, indices


def _search_block(queries: Tensor, bank: Tensor, k: int, tile: int, buffer: Tensor) -> tuple[Tensor, Tensor]:
    """One block of queries against all tiles of the bank; ``buffer`` is reused, for fresh pages cost time."""
    best = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64, device=bank.device)
    for start in range(0, bank.shape[0], tile):
        rows = bank[start : start + tile]
        product = buffer[: len(queries) * len(rows)].view(len(queries), len(rows))
        torch.mm(queries, rows.T, out=product)
        values, places = topk(product, min(k, len(rows)))
        best = merge(best, (values, places + start), k) if start else (values, places)
    return best


def knn_vote(scores: Tensor, labels: Tensor, classes: int, temperature: float = 0.07) -> Tensor:
    """Class scores ``(M, classes)`` from the neighbours' scores and labels, both ``(M, k)``.

    Weights are relative to the nearest neighbour's, which is 1.

    Args:
        scores: similarities; the largest of a row is subtracted, so that no temperature overflows.
        labels: class indices 0 to ``classes - 1``.
        classes: number of classes.
        temperature: > 0; infinity is the plain majority vote, near 0 the nearest neighbour alone.

    Raises:
        ConfigError: a temperature that is not > 0.
    """
    _check.positive("temperature", temperature)
    if scores.numel() == 0:
        return scores.new_zeros(scores.shape[0], classes)
    weights = ((scores - scores.amax(dim=1, keepdim=True)).double() / temperature).exp()
    return weights.new_zeros(scores.shape[0], classes).scatter_add_(1, labels, weights)


def knn_classify(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    classes: int | None = None,
) -> Tensor:
    """Predicted classes ``(M,)`` of ``features`` by a weighted vote of the nearest train rows (cosine).

    Args:
        train_features: ``(N, D)``, normalised here.
        train_labels: ``(N,)`` class indices; rows with -1 are left out of the bank.
        features: ``(M, D)``, normalised here.
        k: neighbours; with fewer labelled train rows than ``k`` all of them vote.
        temperature: > 0.
        classes: number of classes, or None for the largest train label + 1.

    Raises:
        ShapeError: shapes that do not fit, no labelled train row, a row with NaN or infinity.
        ConfigError: ``k`` or ``temperature`` out of range, or a label that is not below ``classes``.
    """
    bank = _check.features("train_features", train_features)
    labels = _check.labels("train_labels", train_labels, bank.shape[0]).to(bank.device)
    queries = _check.features("features", features, dim=bank.shape[1], dtype=bank.dtype)
    _check.positive("temperature", temperature)
    _check.at_least("k", k)
    bank, labels = _check.known(bank, labels)
    if len(bank) == 0:
        raise ShapeError(message("train_labels", "no known label", "at least one label >= 0"))
    largest = int(labels.max())
    if classes is not None and largest >= classes:
        raise ConfigError(message("classes", classes, f"more than the largest train label, {largest}"))
    scores, neighbours = knn_search(_check.unit(queries), _check.unit(bank), min(k, len(bank)))
    return knn_vote(scores, labels[neighbours], classes or largest + 1, temperature).argmax(dim=1)
