"""Maps, neighbours and embeddings are of the pictures alone."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from counterpoint.types import Damaged, Sample
from counterpoint_multimodal.data import PairArrays, PairFolder, PairShards, PairTable
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


def test_a_picture_without_a_caption_is_a_picture(tmp_path: Path) -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(tmp_path / "a.npz", images=pixels, text=["a shoe", " "], label=["x", "y"])
    pairs = PairArrays(str(tmp_path / "a.npz"))
    assert isinstance(pairs[1], Damaged) and "1 of 2 samples, which are skipped in training" in " ".join(pairs.notes)
    sample = pairs.entities()[1]
    assert isinstance(sample, Sample) and list(sample.data) == ["image"] and sample.label == 1
    assert (sample.data["image"].permute(1, 2, 0).numpy() == pixels[1]).all()
    with pytest.raises(IndexError):
        pairs.picture(2)


def test_sources_open_without_captions_where_that_is_said(tmp_path: Path) -> None:
    folder, arguments = tmp_path / "images", table(tmp_path)
    (tmp_path / "bare.csv").write_text("image\n" + "\n".join(f"images/{one.name}" for one in folder.iterdir()))
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4, 3), np.uint8), short_names=["a", "b", "c"])
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(next(folder.iterdir()), "1.png")
    made = [
        PairTable(str(tmp_path / "bare.csv"), caption=""),
        PairTable(**{**arguments, "caption": ""}),
        PairArrays(str(tmp_path / "a.npz"), caption=""),
        PairShards(str(tmp_path / "a.tar"), caption=""),
        PairFolder(str(folder), caption=""),
    ]
    for pairs in made:
        assert set(map(tuple, pairs.captions)) == {("",)} and "No captions" in " ".join(pairs.notes)
        assert isinstance(pairs.entities()[0], Sample) and isinstance(pairs[0], Damaged)
        assert not any("skipped" in note for note in pairs.notes)


def test_what_is_damaged_there_is_damaged_here(tmp_path: Path) -> None:
    arguments = table(tmp_path)
    pairs = PairTable(**arguments)
    good = next(i for i in range(len(pairs)) if isinstance(pairs[i], Sample))
    (tmp_path / pairs.name(good)).unlink(missing_ok=True)
    assert type(pairs.entities()[good]) is type(pairs[good])
