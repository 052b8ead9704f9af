"""The built-in set: no patch in two parts, always the same, and honest about what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from counterpoint.errors import ConfigError, DataError
from counterpoint_vision.data import Photographs, photographs
from counterpoint_vision.data.photographs import FILES, places

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def small() -> Photographs:
    return Photographs(train_patches=10)


def test_sizes_and_labels(small):
    assert len(small) == 16 * (10 + 2 + 2)
    parts = small.splits()
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 160, "val": 32, "test": 32}
    for rows in parts.values():
        assert len(set(np.bincount(small.labels[rows]))) == 1
    assert small.pixels.images.shape == (224, 3, 32, 32) and len(small.classes) == 16


def test_default_size():
    assert len(Photographs()) == 17_920


def test_names_agree_with_labels_and_parts(small):
    split_of = {int(i): split for split, rows in small.splits().items() for i in rows}
    for index in range(len(small)):
        split, picture, _ = small.name(index).split("/")
        assert (split, picture) == (split_of[index], small.classes[small.labels[index]])
    assert len({small.name(i) for i in range(len(small))}) == len(small)


@pytest.mark.parametrize("height, width", [(172, 448), (512, 512), (1411, 1411), (191, 384)])
@pytest.mark.parametrize("size", [32, 64])
def test_no_patch_leaves_its_strip(height, width, size):
    strips = [(0.0, 0.6), (0.6, 0.8), (0.8, 1.0)]
    for count in (1, 7, 160, 800):
        for strip in strips:
            corners = places(height, width, size, count, strip)
            assert len(corners) == count
            for top, left in corners:
                assert 0 <= top <= height - size
                assert round(width * strip[0]) <= left <= round(width * strip[1]) - size


def test_patches_spread_over_the_whole_strip():
    corners = np.array(places(512, 512, 32, 800, (0.0, 0.6)))
    assert len(set(map(tuple, corners))) == 800
    assert corners.min(0).tolist() == [0, 0] and corners.max(0).tolist() == [480, 275]


def test_pixels_are_those_of_the_picture(small):
    from PIL import Image

    picture = np.asarray(Image.open(photographs._folder() / FILES["brick"]))
    corner = places(512, 512, 32, 10, (0.0, 0.6))[3]
    index = next(i for i in range(len(small)) if small.name(i) == "train/brick/0003")
    patch = small[index].data["image"][0].numpy()
    assert np.array_equal(patch, picture[corner[0] : corner[0] + 32, corner[1] : corner[1] + 32])


def test_always_the_same(small):
    assert Photographs(train_patches=10).digest() == small.digest()
    assert Photographs(train_patches=10, color=True).digest() != small.digest()


def test_grey_by_default_colour_when_asked(small):
    images = small.pixels.images
    assert (images[:, 0] == images[:, 2]).all()
    colour = Photographs(train_patches=5, color=True, size=16).pixels.images
    assert colour.shape[-1] == 16 and (colour[:, 0] != colour[:, 2]).any()


def test_errors(monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"found 'photograph'; .*Did you mean 'photographs'\?"):
        Photographs("photograph")
    with pytest.raises(ConfigError, match="size: found 128; allowed: 8 to 64 pixels"):
        Photographs(size=128)
    with pytest.raises(ConfigError, match="train_patches: found 2; allowed: at least 5"):
        Photographs(train_patches=2)

    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    with pytest.raises(DataError, match=r"found no astronaut\.png, .*pip install"):
        Photographs()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="found no scikit-image"):
        Photographs()


def test_accepts():
    assert Photographs.accepts("photographs") and not Photographs.accepts("photographs/")
