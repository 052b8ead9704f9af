"""Near-duplicates among images: which pairs are, by a threshold read from the scores, and the groups they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation.knn import knn_search
from counterpoint.parts import Task

COPY = 0.9999
"""Cosine from which two images are copies whatever the histogram says: one and the same up to rounding."""
BINS, NEAREST, FARTHEST = 60, 1e-6, 2.0
DEPTH = 0.25
"""A valley counts if it is at most this high, as a share of the hill of near-duplicates left of it."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine from which a pair is a near-duplicate, and why."""

    value: float
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Images that belong together.

    Attributes:
        rows: two or more rows of the gallery, the one with the most near-duplicates first.
        scores: of each row the cosine to the first; the first has 1.
    """

    rows: list[int]
    scores: list[float]


def choose_threshold(scores: Tensor) -> Threshold:
    """The valley between near-duplicates and the rest, in the histogram of neighbours' scores.

    The histogram is over the logarithm of the distance ``1 - score``, in which copies (1e-6), pictures saved again or
    resized (about 1e-3) and mere neighbours (from 1e-2 on) are hills of like width. It is smoothed over about half a
    decade. From the highest hill, that of mere neighbours, leftwards, the first place that is at most a quarter as high
    as some place further left is a valley, and its lowest point the threshold. A single straggler close to the hill of
    mere neighbours makes no valley: smoothing closes it. Without a valley only copies are near-duplicates: one hill
    says that there are none, or that the encoder cannot tell.

    Args:
        scores: ``(N, k)`` cosines of each image to its nearest others. ``k`` of several keeps the hill of mere
            neighbours the highest, even where every image has a copy.
    """
    distances = (1.0 - scores.double()).clamp(NEAREST, FARTHEST).log10().numpy().ravel()
    counts, edges = np.histogram(distances, bins=BINS, range=(np.log10(NEAREST), np.log10(FARTHEST)))
    smooth = counts.astype(float)
    for _ in range(2):
        smooth = np.convolve(np.pad(smooth, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    peak = int(smooth.argmax())
    left = np.maximum.accumulate(smooth[: peak + 1])
    low = [left[b] > 0 and smooth[b] <= DEPTH * left[b] for b in range(peak)]
    if not any(low):
        return Threshold(COPY, f"no valley in the histogram of scores, so copies only ({COPY})")
    last = max(b for b in range(peak) if low[b])
    first = max((b + 1 for b in range(last) if not low[b]), default=0)
    valley = min(smooth[first : last + 1])
    places = [b for b in range(first, last + 1) if smooth[b] <= valley]
    middle = places[len(places) // 2]
    value = 1.0 - float(10 ** ((edges[middle] + edges[middle + 1]) / 2))
    return Threshold(min(value, COPY), "the valley of the histogram of scores")


class NearDuplicates(Task):
    """Pairs of images at least as similar as a threshold, and the groups that they make.

    Groups are single links: A and C are together where both are near-duplicates of B. Exact: every image is compared
    with all others, ``O(N^2 D)`` time in flat memory.

    Args:
        threshold: least cosine of a pair; None: chosen by `choose_threshold` in `fit`.
        k: nearest others of each image that are looked at.

    Attributes:
        chosen: the threshold in use and why, after `fit`.
    """

    def __init__(self, threshold: float | None = None, k: int = 20) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(message("threshold", threshold, "a cosine above 0 and up to 1"))
        if k < 1:
            raise ConfigError(message("k", k, "at least 1"))
        self.threshold, self.k = threshold, k
        self.chosen: Threshold | None = None
        self.scores: Tensor | None = None
        self._gallery: Tensor | None = None
        self._indices: Tensor | None = None

    def fit(self, features: Tensor, labels: Tensor | None = None) -> NearDuplicates:
        """Find the nearest others of each of ``(N, D)`` features, and choose the threshold.

        Raises:
            ShapeError: fewer than two rows.
        """
        if features.dim() != 2 or len(features) < 2:
            raise ShapeError(message("features", f"shape {tuple(features.shape)}", "(N, D) with N of at least 2"))
        gallery = functional.normalize(features.float(), dim=1)
        scores, indices = knn_search(gallery, gallery, min(self.k + 1, len(gallery)))
        own = indices == torch.arange(len(gallery))[:, None]
        scores = scores.masked_fill(own, -1.0)  # not a neighbour of itself
        self._gallery, self._indices = gallery, indices
        self.scores = scores.sort(dim=1, descending=True).values[:, : min(self.k, len(gallery) - 1)]
        given = None if self.threshold is None else Threshold(self.threshold, "as given")
        self.chosen = given or choose_threshold(self.scores)
        self._pairs = scores
        return self

    def groups(self) -> list[Group]:
        """The groups, the largest first, then the most alike."""
        gallery, chosen = self._fitted()
        assert self._indices is not None
        row, place = (self._pairs >= chosen.value - 1e-6).nonzero(as_tuple=True)
        column = self._indices[row, place]
        graph = coo_array((np.ones(len(row)), (row.numpy(), column.numpy())), shape=(len(gallery),) * 2)
        _, component = connected_components(graph, directed=False)
        degree = torch.bincount(torch.cat([row, column]), minlength=len(gallery))
        order = np.argsort(component, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
        found = [self._group(gallery, rows, degree) for rows in members if len(rows) > 1]
        return sorted(found, key=lambda group: (-len(group.rows), -min(group.scores), group.rows))

    def _group(self, gallery: Tensor, rows: np.ndarray, degree: Tensor) -> Group:
        first = int(rows[int(degree[rows].argmax())])
        scores = (gallery[rows] @ gallery[first]).clamp(max=1.0)
        others = sorted(((float(s), int(r)) for s, r in zip(scores, rows) if r != first), key=lambda o: (-o[0], o[1]))
        return Group([first, *(r for _, r in others)], [1.0, *(s for s, _ in others)])

    def predict(self, features: Tensor) -> Tensor:
        """``(M,)`` row of the gallery that each of ``(M, D)`` features is a near-duplicate of; -1: of none."""
        gallery, chosen = self._fitted()
        scores, indices = knn_search(functional.normalize(features.float(), dim=1), gallery, 1)
        return torch.where(scores[:, 0] >= chosen.value - 1e-6, indices[:, 0], -1)

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """Precision and recall of the pairs within ``(M, D)`` features, where ``labels`` (-1: alone) name true groups.

        The threshold is that of `fit`.

        Raises:
            ShapeError: no true pair.
        """
        _, chosen = self._fitted()
        unit = functional.normalize(features.float(), dim=1)
        upper = torch.ones(len(unit), len(unit), dtype=torch.bool).triu(1)
        told = ((unit @ unit.T) >= chosen.value - 1e-6) & upper
        true = (labels[:, None] == labels) & (labels >= 0)[:, None] & upper
        if not true.any():
            raise ShapeError(message("labels", "no two rows of one group", "at least one true pair"))
        right = float((told & true).sum())
        return {"precision": right / max(float(told.sum()), 1.0), "recall": right / float(true.sum())}

    def _fitted(self) -> tuple[Tensor, Threshold]:
        if self._gallery is None or self.chosen is None:
            raise ConfigError(message("NearDuplicates", "nothing yet", "fit before predict", "Call fit(features)."))
        return self._gallery, self.chosen
