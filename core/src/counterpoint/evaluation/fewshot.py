"""Learning from few labels: k-shot probes, label fractions, and episodes with prototypes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import ConfigError, message
from counterpoint.evaluation import _check
from counterpoint.evaluation._logistic import Labels, Logistic, Standardizer
from counterpoint.evaluation.linear import labelled
from counterpoint.evaluation.stats import Summary, summarize

SHOTS = (1, 5, 10, 20)
"""Labelled rows per class that are usually reported."""


def few_shot(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    k: int,
    draws: int = 10,
    C: float = 1.0,
    seed: int = 0,
) -> Summary:
    """Accuracy of a logistic probe on ``k`` train rows per class, over several draws of these rows.

    There is nothing to choose: C is fixed. Features are standardised by the statistics of all train rows, for those
    need no label. The interval is over draws, not over trainings of the encoder.

    Args:
        train_features: ``(N, D)`` rows to draw from.
        train_labels: ``(N,)`` class indices; rows with -1 are never drawn.
        features: ``(M, D)`` rows to measure, the same for every draw.
        labels: ``(M,)``; rows with -1 are left out.
        k: rows per class, at most the size of the smallest class.
        draws: at least 2.
        C: inverse penalty.
        seed: of the draws.

    Raises:
        ConfigError: ``k`` above the smallest class, or fewer than 2 draws.
        ShapeError: shapes that do not fit, no labelled row, a row with NaN or infinity.
    """
    _check.at_least("k", k)
    _, y = labelled("train_", train_features, train_labels)
    smallest = int(np.unique(y, return_counts=True)[1].min())
    if k > smallest:
        todo = "Ask for fewer shots, or leave the rare classes out."
        raise ConfigError(message("k", k, f"1 to {smallest}, the size of the smallest class", todo))
    counts = {int(label): k for label in np.unique(y)}
    return _probe_draws(train_features, train_labels, features, labels, counts, draws, C, seed)


def label_fraction(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    *,
    fraction: float,
    draws: int = 5,
    C: float = 1.0,
    seed: int = 0,
) -> Summary:
    """Accuracy of a logistic probe on a share of the train labels, drawn class by class (one row each at least).

    Args:
        train_features: ``(N, D)`` rows to draw from.
        train_labels: ``(N,)`` class indices; rows with -1 are never drawn.
        features: ``(M, D)`` rows to measure, the same for every draw.
        labels: ``(M,)``; rows with -1 are left out.
        fraction: in (0, 1], e.g. 0.01 or 0.1.
        draws: at least 2.
        C: inverse penalty.
        seed: of the draws.

    Raises:
        ConfigError: a fraction outside (0, 1], or fewer than 2 draws.
        ShapeError: shapes that do not fit, no labelled row, a row with NaN or infinity.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(message("fraction", fraction, "a number above 0 and up to 1"))
    _, y = labelled("train_", train_features, train_labels)
    counts = {
        int(label): max(1, round(fraction * int(n))) for label, n in zip(*np.unique(y, return_counts=True), strict=True)
    }
    return _probe_draws(train_features, train_labels, features, labels, counts, draws, C, seed)


def _probe_draws(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    counts: dict[int, int],
    draws: int,
    C: float,
    seed: int,
) -> Summary:
    _check.at_least("draws", draws, 2)
    _check.positive("C", C, finite=True)
    train, y = labelled("train_", train_features, train_labels)
    queries, wanted = labelled("", features, labels, dim=train.shape[1])
    scale = Standardizer.fit(_check.features("train_features", train_features))
    z = scale(queries)
    found = []
    for draw in range(draws):
        rows = draw_rows(y, counts, np.random.default_rng((seed, draw)))
        model = Logistic().fit(scale(train[torch.from_numpy(rows)]), y[rows], C)
        found.append(float((model.predict(z) == wanted).mean()))
    return summarize(found)


def draw_rows(labels: Labels, counts: dict[int, int], random: np.random.Generator) -> Labels:
    """Row numbers with ``counts[c]`` rows of each class ``c``, without replacement, class by class."""
    return np.concatenate([random.permutation(np.flatnonzero(labels == c))[:n] for c, n in sorted(counts.items())])


def episodes(
    features: Tensor,
    labels: Tensor,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    count: int = 600,
    distance: Literal["cosine", "euclidean"] = "cosine",
    seed: int = 0,
) -> Summary:
    """``ways``-way ``shots``-shot accuracy by the nearest prototype ``c_n = mean_k z_{n,k}``: chance is ``1/ways``.

    The interval is ``1.96 s / sqrt(count)`` over episodes, not over trainings of the encoder. The classes must be
    unseen in *labelled* training.

    Args:
        features: ``(N, D)``; normalised here for cosine.
        labels: ``(N,)``; rows with -1 and classes with fewer than ``shots + queries`` rows are left out.
        ways: classes per episode.
        shots: support rows per class.
        queries: query rows per class.
        count: episodes, at least 2.
        distance: "cosine" or "euclidean".
        seed: of the episodes.

    Raises:
        ConfigError: fewer than ``ways`` classes that are large enough, or a number out of range.
        ShapeError: shapes that do not fit, a row with NaN or infinity.

    Source: Snell et al. 2017 (prototypical networks).
    """
    for name, value, least in (("ways", ways, 2), ("shots", shots, 1), ("queries", queries, 1), ("count", count, 2)):
        _check.at_least(name, value, least)
    if distance not in ("cosine", "euclidean"):
        raise ConfigError(message("distance", repr(distance), '"cosine" or "euclidean"'))
    x, y = labelled("", features, labels)
    members = [rows for c in np.unique(y) if len(rows := np.flatnonzero(y == c)) >= shots + queries]
    if len(members) < ways:
        found = f"{ways} with {len(members)} classes of {shots + queries} rows or more"
        raise ConfigError(message("ways", found, "no more than there are such classes", "Use fewer ways or queries."))
    x = _check.unit(x) if distance == "cosine" else x
    random = np.random.default_rng(seed)
    accuracies = []
    for _ in range(count):
        chosen = random.choice(len(members), ways, replace=False)
        drawn = np.stack([random.permutation(members[c])[: shots + queries] for c in chosen])
        accuracies.append(_episode(x[torch.from_numpy(drawn).to(x.device)], shots, distance))
    return summarize(accuracies, normal=True)


def _episode(z: Tensor, shots: int, distance: str) -> float:
    """Accuracy of one episode of rows ``(ways, shots + queries, D)``."""
    prototypes = z[:, :shots].mean(dim=1)
    asked = z[:, shots:]
    if distance == "cosine":
        nearest = (asked @ _check.unit(prototypes).T).argmax(dim=2)
    else:
        nearest = torch.cdist(asked, prototypes.expand(len(z), -1, -1)).argmin(dim=2)
    return float((nearest == torch.arange(len(z), device=z.device)[:, None]).double().mean())
