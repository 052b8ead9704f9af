"""Searches in one index by words, by a picture and by both."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint_apps.picture_search.encoder import PairEncoder
from counterpoint_apps.picture_search.samples import source_of
from counterpoint_apps.pictures.answers import Hit
from counterpoint_apps.pictures.index import PictureIndex
from counterpoint_apps.pictures.searches import PER_PAGE, Found, Searches
from counterpoint_multimodal.tasks import PictureSearch

PIECES = 20
"""Pieces of the index, of some thousand pictures each, from which the spread of scores is measured."""
IDEAS = 6


class WordSearches(Searches[PairEncoder]):
    """Searches by text as well; see `Searches`."""

    @cached_property
    def task(self) -> PictureSearch:
        """The task with (part of) the index as its gallery: it makes one query of words and picture."""
        pieces = [vectors for _, vectors in islice(self.everything(), PIECES)]
        if not pieces:
            raise DataError(message("index", f"no picture in {self.index.path}", "an index with pictures"))
        return PictureSearch().fit(torch.from_numpy(np.concatenate(pieces)))

    def query(self, text: Tensor | None, image: Tensor | None, weight: float) -> np.ndarray:
        """``(M, D)`` vectors to search for; arguments and errors are those of `PictureSearch.query`."""
        vectors: np.ndarray = self.task.query(text, image, weight).numpy()
        return vectors

    def ask(self, words: str = "", image: np.ndarray | None = None, weight: float = 0.5, key: str = "") -> Found:
        """What is near to words, to a picture, or to both.

        Args:
            words: "" for none.
            image: ``(D,)`` vector of a picture, or None.
            weight: share of the words where there are both.
            key: of the picture, where it is one of the index.
        """
        text = self.encoder.words([words]) if words else None
        picture = None if image is None else torch.from_numpy(image)[None]
        return self.near(self.query(text, picture, weight)[0], words, key, picture is not None)

    def everything(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """Pieces of keys with their vectors ``(n, D)``: the whole index."""
        for keys, _, vectors in self.index.store.read(vectors=True):
            assert vectors is not None
            yield keys, vectors.copy()  # Arrow's memory may not be written to, and torch warns of such

    def some(self) -> Found:
        """A few pictures of the index, the same ones each time, drawn from all of it."""
        keys = [key for keys, _, _ in self.index.store.read() for key in keys]
        drawn = np.random.default_rng(0).permutation(len(keys))[:PER_PAGE]
        chosen = [keys[i] for i in drawn.tolist()]
        captions = self.index.store.captions_of(chosen)
        return Found(hits=[Hit(key, None, captions[key]) for key in chosen])

    @staticmethod
    def ideas(found: Found) -> list[str]:
        """What could be searched for: the shortest captions of ``found``."""
        texts = {hit.caption.split(" · ")[0] for hit in found.hits if hit.caption}
        return sorted(texts, key=lambda text: (len(text), text))[:IDEAS]


def open_index(path: Path, run: Path | None = None) -> WordSearches:
    """Searches in the index at ``path``; ``run`` says where its run lies now.

    Raises:
        DataError: no index, a damaged one, or its encoder is gone or another.
    """
    index = PictureIndex(path)
    encoder = PairEncoder.that_made(index.origin, run)
    return WordSearches(index, partial(source_of, encoder.run, index.described), encoder)
