"""The most similar images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation.knn import knn_search
from counterpoint.evaluation.retrieval import retrieval
from counterpoint.parts import Task


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a search found.

    Attributes:
        scores: ``(M, k)`` cosine similarities, falling.
        indices: ``(M, k)`` int64 rows of the gallery.
        names: what the gallery calls these rows, where it has names.
    """

    scores: Tensor
    indices: Tensor
    names: list[list[str]] | None = None


class ImageRetrieval(Task):
    """Search in a gallery by cosine similarity; exact.

    Args:
        k: neighbours per query (fewer where the gallery is smaller).
        ks: ranks at which `evaluate` counts hits.
    """

    def __init__(self, k: int = 10, ks: Sequence[int] = (1, 5, 10)) -> None:
        if k < 1:
            raise ConfigError(message("k", k, "at least 1"))
        self.k, self.ks = k, ks
        self.names: list[str] | None = None
        self._gallery: Tensor | None = None
        self._labels: Tensor | None = None

    def fit(self, features: Tensor, labels: Tensor | None = None, names: Sequence[str] | None = None) -> ImageRetrieval:
        """Take ``(N, D)`` features as the gallery.

        Args:
            features: ``(N, D)``, normalised here.
            labels: ``(N,)`` class indices, -1 unknown; only `evaluate` needs them.
            names: what to call each row.

        Raises:
            ShapeError: an empty gallery, or labels or names of another number.
        """
        if features.dim() != 2 or not len(features):
            raise ShapeError(message("features", f"shape {tuple(features.shape)}", "(N, D) with N of at least 1"))
        for argument, rows in (("labels", labels), ("names", names)):
            if rows is not None and len(rows) != len(features):
                raise ShapeError(message(argument, f"{len(rows)}", f"{len(features)}, one for each row of features"))
        self._gallery = functional.normalize(features.float(), dim=1)
        self._labels = labels
        self.names = None if names is None else list(names)
        return self

    def predict(self, features: Tensor, own: Tensor | None = None) -> Neighbours:
        """The ``k`` most similar rows of the gallery for each of ``(M, D)`` features.

        Args:
            features: ``(M, D)``.
            own: ``(M,)`` row of the gallery that each query itself is, and that it must not find; -1 for none.
        """
        gallery = self._fitted()
        queries = functional.normalize(features.float(), dim=1)
        most = len(gallery) if own is None else len(gallery) - 1
        k = min(self.k, most)
        if k < 1:
            raise ShapeError(message("own", "the only row of the gallery", "a gallery of two rows or more"))
        scores, indices = knn_search(queries, gallery, k if own is None else k + 1)
        if own is not None:
            scores, indices = _without(scores, indices, own)
        names = None if self.names is None else [[self.names[i] for i in row] for row in indices.tolist()]
        return Neighbours(scores, indices, names)

    def evaluate(self, features: Tensor, labels: Tensor, own: Tensor | None = None) -> dict[str, float]:
        """Recall@K (any hit in the first K), mean average precision, and the number of queries that have a match.

        Args:
            features: ``(M, D)``.
            labels: ``(M,)``; queries with -1 do not count.
            own: row of the gallery that each query itself is; -1 for none.

        Raises:
            ConfigError: the gallery has no labels.
            ShapeError: no query has a match in the gallery.
        """
        gallery = self._fitted()
        if self._labels is None:
            raise ConfigError(message("labels", "a gallery without labels", "fit(features, labels)"))
        ids = None if own is None else torch.arange(len(gallery))
        metrics = retrieval(features, labels, gallery, self._labels, query_ids=own, gallery_ids=ids, ks=self.ks)
        return {name: metrics[name] for name in (*(f"recall@{k}" for k in self.ks), "map", "queries")}

    def _fitted(self) -> Tensor:
        if self._gallery is None:
            raise ConfigError(message("ImageRetrieval", "no gallery yet", "fit before predict", "Call fit(features)."))
        return self._gallery


def _without(scores: Tensor, indices: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Drop one column: the query's own row, or the last where it is not among those found."""
    others = indices != own[:, None]
    others[others.all(1), -1] = False
    shape = len(indices), indices.shape[1] - 1
    return scores[others].view(shape), indices[others].view(shape)
