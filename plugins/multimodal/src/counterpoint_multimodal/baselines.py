"""Retrieval without a network, which an encoder must beat: colours of pictures and words of texts.

Pictures are histograms of colours, texts TF-IDF of their words, and canonical correlation of the training pairs brings
both into one space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from counterpoint.types import Batch

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Shares of the mean variance that are added to every direction's; tried in turn."""
PENALTY = 1e-1
COMPONENTS, WORDS = 256, 20_000
"""Directions of the texts' TF-IDF that are kept, and different words at most."""
LEVELS, SIDE = 4, 48
"""Levels of a channel, and pixels to which a picture is reduced."""


def colours(batch: Batch, cells: int = 1) -> Tensor:
    """The share of each of 64 colours, under a root (Hellinger): ``(B, cells**2 * 64)``.

    Args:
        batch: with uint8 ``(3, H, W)`` pictures.
        cells: into which each side of a picture is cut; with more than one the histograms tell what is where.
    """
    return torch.stack([_histogram(image, cells) for image in batch.data["image"]])


def _histogram(image: Tensor, cells: int) -> Tensor:
    pixels = adaptive_avg_pool2d(image.float(), SIDE)
    level = (pixels * (LEVELS / 256)).long().clamp_(0, LEVELS - 1)
    colour = (level[0] * LEVELS + level[1]) * LEVELS + level[2]
    cell = torch.arange(SIDE) * cells // SIDE
    place = (cell[:, None] * cells + cell) * LEVELS**3 + colour
    counts = torch.bincount(place.flatten(), minlength=cells**2 * LEVELS**3)
    return (counts.float() / SIDE**2).sqrt()


class ColoursAndWords:
    """Ridge-regularised canonical correlation.

    With ``A = (Cxx + l I)^-1/2``, ``B = (Cyy + l I)^-1/2`` and ``U S V^T = A Cxy B`` a picture becomes ``x A U S``, a
    text ``y B V S``, and they are compared by cosine.

    Args:
        images: ``(P, H)`` features of the training pictures.
        texts: the different training texts.
        right: ``(R, 2)`` picture and text that belong together.

    Source: Hardoon et al. 2004; Gong et al. 2014 (directions weighted by their correlation).
    """

    def __init__(self, images: Tensor, texts: Sequence[str], right: Tensor) -> None:
        self._words = TfidfVectorizer(
            sublinear_tf=True,
            ngram_range=(1, 2),
            token_pattern=r"(?u)\w+|[^\w\s]",
            max_features=WORDS,
            dtype=np.float32,
        )
        table = self._words.fit_transform(texts)
        large = min(table.shape) > COMPONENTS
        self._svd = TruncatedSVD(COMPONENTS, random_state=0).fit(table) if large else None
        x, y = images[right[:, 0]].double(), self._read(texts)[right[:, 1]]
        self._centres = x.mean(dim=0), y.mean(dim=0)
        x, y = x - self._centres[0], y - self._centres[1]
        self._products = x.T @ x / len(x), x.T @ y / len(x), y.T @ y / len(x)
        self.set(PENALTY)

    def _read(self, texts: Sequence[str]) -> Tensor:
        table = self._words.transform(texts)
        return torch.as_tensor(
            table.toarray() if self._svd is None else self._svd.transform(table), dtype=torch.float64
        )

    def set(self, penalty: float) -> None:
        """Solve with this penalty > 0."""
        xx, xy, yy = self._products
        left, right = _whiten(xx, penalty), _whiten(yy, penalty)
        u, s, v = torch.linalg.svd(left @ xy @ right, full_matrices=False)
        self._maps = left @ u * s, right @ v.T * s

    def tune(self, measure: Callable[[], float]) -> None:
        """Keep that one of `PENALTIES` after which ``measure()`` is largest."""

        def tried(penalty: float) -> float:
            self.set(penalty)
            return measure()

        self.set(max(PENALTIES, key=tried))

    def images(self, features: Tensor) -> Tensor:
        """``(n, H)`` features -> ``(n, D)``."""
        mapped: Tensor = (features.double() - self._centres[0]) @ self._maps[0]
        return mapped.float()

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Texts -> ``(m, D)``; one without a known word lies where the mean does."""
        mapped: Tensor = (self._read(texts) - self._centres[1]) @ self._maps[1]
        return mapped.float()


def _whiten(covariance: Tensor, penalty: float) -> Tensor:
    """``(C + l I)^-1/2``, where ``l`` is ``penalty`` times the mean variance."""
    values, vectors = torch.linalg.eigh(covariance)
    ridge = penalty * values.clamp(min=0).mean().clamp(min=1e-12)
    whitened: Tensor = vectors * (values.clamp(min=0) + ridge).rsqrt() @ vectors.T
    return whitened
