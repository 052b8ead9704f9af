"""Maps, neighbours and embeddings are of the pictures alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoint.types import Sample
from counterpoint_multimodal.data import PairTable
from counterpoint_multimodal.data.examples import table

pytestmark = pytest.mark.unit


def test_pictures_are_the_pairs_without_their_texts(tmp_path: Path) -> None:
    pairs = PairTable(**table(tmp_path))
    pictures = pairs.entities()
    assert len(pictures) == len(pairs)
    assert [pictures.name(i) for i in range(len(pairs))] == [pairs.name(i) for i in range(len(pairs))]
    assert all(np.array_equal(pictures.splits()[split], rows) for split, rows in pairs.splits().items())
    batch, whole = pictures.batch([3, 1]), pairs.batch([3, 1])
    assert list(batch.data) == ["image"]
    assert batch.content.tolist() == whole.content.tolist()
    for own, other in zip(batch.data["image"], whole.data["image"]):
        assert own.equal(other)


def test_what_is_damaged_there_is_damaged_here(tmp_path: Path) -> None:
    arguments = table(tmp_path)
    pairs = PairTable(**arguments)
    good = next(i for i in range(len(pairs)) if isinstance(pairs[i], Sample))
    (tmp_path / pairs.name(good)).unlink(missing_ok=True)
    assert type(pairs.entities()[good]) is type(pairs[good])
