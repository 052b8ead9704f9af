"""Pictures by words, by a picture, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError, message
from counterpoint.evaluation.knn import knn_search
from counterpoint.evaluation.retrieval import retrieval
from counterpoint.parts import Task

_LEAST = 1e-6
"""Spread of scores in a gallery whose pictures all look alike."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What a search found.

    Attributes:
        scores: ``(M, k)`` cosines of query and picture, falling.
        indices: ``(M, k)`` int64 rows of the gallery.
        names: what the gallery calls these rows, where it has names.
        captions: what is written beside them, where it has captions.
    """

    scores: Tensor
    indices: Tensor
    names: list[list[str]] | None = None
    captions: list[list[str]] | None = None


class PictureSearch(Task):
    """Search in a gallery of pictures by the embedding of a text, of a picture, or of both; exact.

    Cosines of a text with pictures lie close together and far from 1, those of a picture with pictures spread widely
    (the modality gap), so that in a plain sum of both embeddings the picture would decide alone. Here each counts by
    its cosine over the standard deviation of its cosines in the gallery: with t and i of length 1,

    ``q = w t / sd(t) + (1 - w) i / sd(i)``,  ``sd(x) = sqrt(x' C x)``,

    where C is the covariance of the gallery. The order of ``q``'s scores is that of the weighted sum of both
    standardised scores, and yet ``q`` is one vector, as any index of vectors takes it.

    Args:
        ks: ranks at which `evaluate` counts hits.
    """

    def __init__(self, ks: Sequence[int] = (1, 5, 10)) -> None:
        self.ks = ks
        self.names: list[str] | None = None
        self.captions: list[str] | None = None
        self._gallery: Tensor | None = None
        self._labels: Tensor | None = None
        self._covariance: Tensor | None = None

    def fit(
        self,
        features: Tensor,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        captions: Sequence[str] | None = None,
    ) -> PictureSearch:
        """Take ``(N, D)`` embeddings of pictures as the gallery.

        Args:
            features: ``(N, D)``, normalised here.
            labels: ``(N,)`` ids of what each picture shows, -1 unknown; only `evaluate` needs them.
            names: what to call each row.
            captions: what is written beside each.

        Raises:
            ShapeError: an empty gallery, or labels, names or captions of another number.
        """
        if features.dim() != 2 or not len(features):
            raise ShapeError(message("features", f"shape {tuple(features.shape)}", "(N, D) with N of at least 1"))
        for argument, rows in (("labels", labels), ("names", names), ("captions", captions)):
            if rows is not None and len(rows) != len(features):
                raise ShapeError(message(argument, len(rows), f"{len(features)}, one for each row of features"))
        self._gallery = normalize(features.float(), dim=1)
        centred = self._gallery - self._gallery.mean(0)
        self._covariance = centred.T @ centred / len(centred)
        self._labels = labels
        self.names = None if names is None else list(names)
        self.captions = None if captions is None else list(captions)
        return self

    def query(self, text: Tensor | None = None, image: Tensor | None = None, weight: float = 0.5) -> Tensor:
        """The vectors that are searched for, ``(M, D)`` of length 1.

        Args:
            text: ``(M, D)`` embeddings of texts, or None.
            image: ``(M, D)`` embeddings of pictures, or None.
            weight: share of the text where there are both, 0 to 1.

        Raises:
            ConfigError: neither, or a weight outside of its range.
            ShapeError: not ``(M, D)`` with the gallery's D, values that are not finite, or different numbers of texts
                and pictures.
        """
        if not 0 <= weight <= 1:
            raise ConfigError(message("weight", weight, "a share of the words, from 0 to 1"))
        given = [self._unit(name, x) for name, x in (("text", text), ("image", image)) if x is not None]
        if not given:
            raise ConfigError(message("text, image", "neither", "one of them, or both"))
        if len(given) == 1:
            return given[0]
        if given[0].shape != given[1].shape:
            raise ShapeError(message("image", f"{len(given[1])} rows", f"{len(given[0])}, one for each text"))
        words, picture = (x / self._spread(x) for x in given)
        return normalize(weight * words + (1 - weight) * picture, dim=1)

    def search(
        self, text: Tensor | None = None, image: Tensor | None = None, weight: float = 0.5, k: int = 10
    ) -> Matches:
        """The ``k`` nearest pictures (fewer where the gallery is smaller); arguments and errors are those of `query`.

        Raises:
            ConfigError: a k below 1.
        """
        if k < 1:
            raise ConfigError(message("k", k, "at least 1"))
        gallery = self._fitted()
        scores, indices = knn_search(self.query(text, image, weight), gallery, min(k, len(gallery)))
        rows = indices.tolist()
        names, captions = (
            None if values is None else [[values[i] for i in row] for row in rows]
            for values in (self.names, self.captions)
        )
        return Matches(scores, indices, names, captions)

    def predict(self, features: Tensor) -> Matches:
        """What ``(M, D)`` embeddings, of texts or of pictures, find."""
        return self.search(text=features)

    def evaluate(self, features: Tensor, labels: Tensor) -> dict[str, float]:
        """How often a right picture is among the first ones.

        Args:
            features: ``(M, D)`` embeddings of queries.
            labels: ``(M,)`` ids of what each asks for; queries with -1 do not count.

        Returns:
            ``recall@1``, ``recall@5``, ``recall@10`` (any right picture counts), ``map``, and the number of ``queries``
            with a right picture in the gallery.

        Raises:
            ConfigError: the gallery has no labels.
            ShapeError: no query has a right picture in the gallery.
        """
        gallery = self._fitted()
        if self._labels is None:
            raise ConfigError(message("labels", "a gallery without labels", "fit(features, labels)"))
        metrics = retrieval(features, labels, gallery, self._labels, ks=self.ks)
        return {name: metrics[name] for name in (*(f"recall@{k}" for k in self.ks), "map", "queries")}

    def _spread(self, x: Tensor) -> Tensor:
        """``(M, 1)`` standard deviation of each row's scores over the gallery."""
        assert self._covariance is not None
        return ((x @ self._covariance) * x).sum(1, keepdim=True).clamp(min=0).sqrt().clamp(min=_LEAST)

    def _unit(self, name: str, x: Tensor) -> Tensor:
        dim = self._fitted().shape[1]
        if x.dim() != 2 or x.shape[1] != dim or not torch.isfinite(x).all():
            raise ShapeError(message(name, f"shape {tuple(x.shape)}", f"(M, {dim}), all values finite"))
        return normalize(x.float(), dim=1)

    def _fitted(self) -> Tensor:
        if self._gallery is None:
            raise ConfigError(message("PictureSearch", "no gallery yet", "fit before search", "Call fit(features)."))
        return self._gallery
