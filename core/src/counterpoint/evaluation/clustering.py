"""Do classes form clusters: k-means without labels, then agreement with the labels; and how tight they are."""

from __future__ import annotations

import warnings

import torch
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from counterpoint.evaluation import _check
from counterpoint.evaluation.linear import labelled


def kmeans(
    features: Tensor, clusters: int, *, seed: int = 0, restarts: int = 4, mini_batch: int | None = None
) -> Tensor:
    """Cluster numbers ``(N,)`` of rows of length 1, by k-means++ and Lloyd's iterations; the best of ``restarts``.

    Args:
        features: ``(N, D)``, normalised here.
        clusters: 1 or more; with fewer rows than clusters every row is its own.
        seed: of the starts.
        restarts: how many starts.
        mini_batch: rows of a step, where there are more than that (MiniBatchKMeans: for data that is large); None: all.

    Raises:
        ShapeError: no row, a row with NaN or infinity.
        ConfigError: a number below 1.
    """
    x = _check.features("features", features)
    _check.rows("features", x, 1)
    _check.at_least("clusters", clusters)
    _check.at_least("restarts", restarts)
    model: KMeans | MiniBatchKMeans = KMeans(min(clusters, len(x)), n_init=restarts, random_state=seed)
    if mini_batch is not None and len(x) > mini_batch:
        model = MiniBatchKMeans(
            min(clusters, len(x)), batch_size=mini_batch, tol=1e-5, n_init=restarts, random_state=seed
        )
    with warnings.catch_warnings():
        # fewer distinct rows than clusters: collapsed features, whose agreement of 0 says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(model.fit_predict(_check.unit(x).cpu().numpy())).long()


def cluster_agreement(
    features: Tensor, labels: Tensor, *, clusters: int | None = None, seed: int = 0
) -> dict[str, float]:
    """``nmi`` (arithmetic mean) and ``ari`` between k-means clusters and labels: 0 by chance, 1 when they coincide.

    Normalised mutual information is not corrected for chance: with many clusters and few rows it rises by itself. The
    adjusted Rand index is.

    Args:
        features: ``(N, D)``, normalised here.
        labels: ``(N,)``; rows with -1 are left out.
        clusters: number of clusters, or None for the number of classes.
        seed: of the k-means starts.

    Raises:
        ShapeError: shapes that do not fit, no labelled row, a row with NaN or infinity.
    """
    x, y = labelled("", features, labels)
    found = kmeans(x, clusters or len(set(y.tolist())), seed=seed).numpy()
    return {"nmi": float(normalized_mutual_info_score(y, found)), "ari": float(adjusted_rand_score(y, found))}


def scatter_ratio(features: Tensor, labels: Tensor) -> float:
    """Mean cosine distance within classes over that between classes: 0 where each class is a point, 1 by chance.

    Over all pairs of different rows, in ``O(N D)`` by the classes' sums. NaN where no class has two rows, there is one
    class only, or all rows point the same way.

    Args:
        features: ``(N, D)``, normalised here.
        labels: ``(N,)``; rows with -1 are left out.

    Raises:
        ShapeError: shapes that do not fit, no labelled row, a row with NaN or infinity.

    Source: the mechanism that Zhang et al. 2021 (arXiv 2102.06605) claim for Core-tuning.
    """
    x, y = labelled("", features, labels)
    rows = _check.unit(x.cpu().double())
    number = torch.unique(torch.from_numpy(y), return_inverse=True)[1]
    size = torch.bincount(number).double()
    total = rows.new_zeros(len(size), rows.shape[1]).index_add(0, number, rows)
    alone = float(rows.square().sum())
    same = float(total.square().sum()) - alone  # twice the sum of cosines over pairs of one class
    other = float(total.sum(0).square().sum()) - alone - same
    pairs = float((size * (size - 1)).sum())
    others = float(len(rows) ** 2 - (size**2).sum())
    between = 1 - other / others if others else 0.0
    return (1 - same / pairs) / between if pairs and between > 1e-12 else float("nan")
