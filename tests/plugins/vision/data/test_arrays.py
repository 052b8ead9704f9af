"""Numpy archives of images: layouts, parts, labels, faults."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from counterpoint.errors import DataError
from counterpoint.types import Damaged
from counterpoint_vision.data import ImageArrays

pytestmark = pytest.mark.unit


@pytest.fixture
def archive(tmp_path):
    def write(**arrays: np.ndarray) -> str:
        place = tmp_path / "set.npz"
        np.savez(place, **arrays)
        return str(place)

    return write


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("key", ["images", "image", "x", "data"])
def test_colour_images_without_labels(archive, key):
    images = random_images(5, 4, 6, 3)
    data = ImageArrays(archive(**{key: images}))
    assert len(data) == 5 and data.labels is None and data.parts is None
    assert torch.equal(data[2].data["image"], torch.from_numpy(images[2]).permute(2, 0, 1))


def test_grey_one_channel_and_channels_first(archive):
    images = random_images(3, 4, 6)
    for form in (images, images[..., None], np.repeat(images[:, None], 3, 1)):
        data = ImageArrays(archive(images=form))
        assert torch.equal(data[1].data["image"], torch.from_numpy(images[1]).expand(3, -1, -1))


def test_alpha_is_laid_on_white(archive):
    images = np.zeros((1, 1, 3, 4), dtype=np.uint8)
    images[0, 0, :, 3] = (0, 128, 255)
    assert ImageArrays(archive(images=images))[0].data["image"][0, 0].tolist() == [255, 127, 0]


@pytest.mark.parametrize("form", ["{part}_{name}", "{name}_{part}"])
def test_parts_and_labels(archive, form):
    arrays = {
        form.format(part="train", name="x"): random_images(40, 4, 4, 3),
        form.format(part="train", name="y"): np.arange(40, dtype=np.uint8)[:, None] % 2,
        form.format(part="test", name="x"): random_images(6, 4, 4, 3),
        form.format(part="test", name="y"): np.array([0, 1, 0, 1, 0, 1]),
        "class_names": np.array(["cat", "dog"]),
    }
    data = ImageArrays(archive(**arrays))
    assert data.classes == ["cat", "dog"] and data.labels.tolist() == [0, 1] * 23
    parts = data.splits()
    assert parts["test"].tolist() == list(range(40, 46))
    assert sorted(np.concatenate([parts["train"], parts["val"]])) == list(range(40)) and len(parts["train"]) > 25
    assert data.name(0) == "train/000000" and data.name(45) == "test/000045"


def test_val_is_a_tenth_of_train_and_copies_stay_together(archive):
    images = np.concatenate([random_images(500, 4, 4, 3)] * 2)
    data = ImageArrays(archive(images=images, labels=np.zeros(1000, dtype=int)))
    parts = data.splits()
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))
    assert 60 < len(parts["val"]) < 140 and 60 < len(parts["test"]) < 140
    for rows in parts.values():
        assert set(rows % 500 + 500) <= set(rows)
    again = ImageArrays(archive(images=images, labels=np.zeros(1000, dtype=int))).splits()
    assert all(np.array_equal(parts[split], again[split]) for split in parts)


def pack(images: list[bytes]) -> dict[str, np.ndarray]:
    offset = np.cumsum([0, *map(len, images)])
    return {"train_jpeg": np.frombuffer(b"".join(images), dtype=np.uint8), "train_offset": offset}


def jpegs(count: int, size: int = 8) -> list[bytes]:
    files = []
    for image in random_images(count, size, size, 3):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def test_packed_files_are_decoded(archive):
    files = jpegs(4)
    data = ImageArrays(archive(**pack(files), train_label=np.array([0, 1, 2, -1])))
    wanted = np.asarray(Image.open(io.BytesIO(files[2])))
    assert np.array_equal(data[2].data["image"].permute(1, 2, 0).numpy(), wanted)
    assert [data[i].label for i in range(4)] == [0, 1, 2, None]
    assert data.pixels.images.shape == (4, 3, 8, 8)


def test_packed_files_of_several_sizes(archive):
    data = ImageArrays(archive(**pack(jpegs(2) + jpegs(1, 16))))
    images = data.collate([data[i] for i in range(3)]).data["image"]
    assert [image.shape[1] for image in images] == [8, 8, 16]


def test_a_damaged_packed_file_is_damaged(archive):
    files = [b"no image", *jpegs(2)]
    data = ImageArrays(archive(**pack(files)))
    assert data[0] == Damaged(0, "train/000000", "not an image of a known format")
    batch = data.collate([data[i] for i in range(3)])
    assert batch.data["image"].shape == (2, 3, 8, 8) and len(batch.damaged) == 1


def test_digest_depends_on_pixels_and_labels(archive):
    images = random_images(3, 4, 4, 3)
    first = ImageArrays(archive(images=images, labels=np.array([0, 1, 0]))).digest()
    assert ImageArrays(archive(images=images, labels=np.array([0, 1, 0]))).digest() == first
    assert ImageArrays(archive(images=images, labels=np.array([0, 1, 1]))).digest() != first
    images[0, 0, 0, 0] ^= 1
    assert ImageArrays(archive(images=images, labels=np.array([0, 1, 0]))).digest() != first


def test_errors(archive, tmp_path):
    cases = {
        r"found set\.npz with a, b; allowed: uint8 images\. Name them": {"a": np.zeros(2), "b": np.zeros(2)},
        r"images: found float64 \(2, 4, 4, 3\); allowed: uint8 \(N, H, W\)": {"images": np.zeros((2, 4, 4, 3))},
        r"images: found uint8 \(2, 4, 4, 5\)": {"images": random_images(2, 4, 4, 5)},
        r"found int64 \(3,\); allowed: 2 whole numbers": {"images": random_images(2, 4, 4), "labels": np.arange(3)},
        r"class_names: found 1 names; allowed: one for each of the 2": {
            "images": random_images(2, 4, 4),
            "labels": np.arange(2),
            "class_names": np.array(["a"]),
        },
        "rising cuts between 0 and 3": {"train_jpeg": random_images(3), "train_offset": np.array([0, 9])},
    }
    for text, arrays in cases.items():
        with pytest.raises(DataError, match=text):
            ImageArrays(archive(**arrays))
    with pytest.raises(DataError, match=r"source: found no file '.*none\.npz'"):
        ImageArrays(str(tmp_path / "none.npz"))
    (tmp_path / "bad.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"bad\.npz: .*plain arrays"):
        ImageArrays(str(tmp_path / "bad.npz"))


def test_pickled_objects_are_refused(archive):
    with pytest.raises(DataError, match="pickled objects are refused"):
        ImageArrays(archive(images=np.array([{"a": 1}], dtype=object)))


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"source: found 'cifar10-smal'; .*Did you mean 'cifar10-small'\?"):
        ImageArrays("cifar10-smal")


def test_a_missing_named_set_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setenv("COUNTERPOINT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no file .*cifar10_small\.npz; .*use 'photographs'"):
        ImageArrays("cifar10-small")


def test_accepts(archive):
    assert ImageArrays.accepts("cifar10-small") and ImageArrays.accepts(archive(images=random_images(1, 4, 4)))
    assert not ImageArrays.accepts("none.npz") and not ImageArrays.accepts("cifar10")


def test_cifar10_small(shared_data):
    if not (shared_data / "vision" / "cifar10-small").is_dir():
        pytest.skip("cifar10-small is not in the data home")
    data = ImageArrays("cifar10-small")
    assert len(data) == 12_000 and data.classes[:2] == ["airplane", "automobile"]
    parts = data.splits()
    assert len(parts["test"]) == 2_000 and 900 < len(parts["val"]) < 1_100
    assert data.pixels.images.shape == (12_000, 3, 32, 32) and not data.pixels.damaged
    assert np.bincount(data.labels[parts["test"]]).tolist() == [200] * 10


@pytest.mark.parametrize("labels", [None, np.arange(6)])
def test_a_batch_equals_its_samples(archive, labels):
    arrays = {} if labels is None else {"labels": labels}
    data = ImageArrays(archive(images=random_images(6, 4, 4, 3), **arrays))
    assert data.in_memory
    quick, slow = data.batch([4, 0, 4]), data.collate([data[4], data[0], data[4]])
    assert torch.equal(quick.data["image"], slow.data["image"]) and torch.equal(quick.content, slow.content)
    assert torch.equal(quick.index, slow.index) and quick.index.tolist() == [4, 0, 4]
    assert quick.label is slow.label is None or torch.equal(quick.label, slow.label)


def test_a_batch_with_damage_or_several_sizes(archive):
    data = ImageArrays(archive(**pack([b"no image", *jpegs(2)])))
    batch = data.batch([0, 1])
    assert batch.index.tolist() == [1] and batch.damaged[0].index == 0
    assert len(ImageArrays(archive(**pack(jpegs(2) + jpegs(1, 16)))).batch([0, 2]).data["image"]) == 2


def test_targets_are_numbers_and_fractions_are_no_labels(archive):
    images = random_images(3, 4, 4)
    data = ImageArrays(archive(images=images, targets=np.array([0.5, np.nan, 2])))
    assert data.labels is None and data.targets.dtype == torch.float32
    assert [data[i].target for i in range(3)] == [0.5, None, 2]
    assert data.batch([2, 0]).target.tolist() == [2, 0.5]
    both = ImageArrays(archive(images=images, y=np.array([3, 1, 2])))
    assert both.labels.tolist() == both.targets.tolist() == [3, 1, 2]
    assert data.digest() != ImageArrays(archive(images=images, targets=np.array([0.5, 1, 2]))).digest()
    with pytest.raises(DataError, match=r"the targets: found float64 \(2,\); allowed: 3 numbers, one per image"):
        ImageArrays(archive(images=images, targets=np.zeros(2)))


def test_parts_without_targets_are_unknown(archive):
    images = random_images(2, 4, 4)
    data = ImageArrays(archive(x_train=images, y_train=np.array([0.5, 1.5]), x_test=images))
    assert data.targets[:2].tolist() == [0.5, 1.5] and data.targets[2:].isnan().all() and data.labels is None
