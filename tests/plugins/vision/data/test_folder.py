"""Image folders: what is found, what is labelled, what is skipped, and how it is split."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from counterpoint.errors import ConfigError, DataError
from counterpoint.training.answers import known
from counterpoint.types import Batch, Damaged, Sample
from counterpoint_vision.data import ImageFolder

pytestmark = pytest.mark.unit


def test_flat_folder_is_sorted_and_has_no_labels(tmp_path, save):
    for path in ("b.png", "a.JPG", "deep/er/c.webp", ".hidden.png", ".git/d.png"):
        save(path)
    (tmp_path / "notes.txt").write_text("no image")
    data = ImageFolder(str(tmp_path))
    assert [data.name(i) for i in range(len(data))] == ["a.JPG", "b.png", "deep/er/c.webp"]
    assert data.labels is None and data.classes is None
    sample = data[0]
    assert isinstance(sample, Sample) and sample.label is None
    assert sample.data["image"].shape == (3, 10, 12) and sample.data["image"].dtype == torch.uint8


def test_two_subfolders_are_classes_and_images_beside_them_have_no_label(tmp_path, save):
    for path in ("dog/1.png", "cat/1.png", "cat/more/2.png", "loose.png"):
        save(path)
    data = ImageFolder(str(tmp_path))
    assert data.classes == ["cat", "dog"]
    assert data.labels.tolist() == [0, 0, 1, -1]
    assert [data[i].label for i in range(4)] == [0, 0, 1, None]
    assert ImageFolder(str(tmp_path), labelled=False).labels is None


def test_one_subfolder_is_no_class(tmp_path, save):
    save("all/1.png")
    save("2.png")
    assert ImageFolder(str(tmp_path)).labels is None


def test_split_folders_are_official(tmp_path, save):
    for path in ("train/cat/1.png", "train/dog/2.png", "valid/cat/3.png", "test/dog/4.png"):
        save(path)
    data = ImageFolder(str(tmp_path))
    names = {split: [data.name(i) for i in rows] for split, rows in data.splits().items()}
    assert names == {
        "train": ["train/cat/1.png", "train/dog/2.png"],
        "val": ["valid/cat/3.png"],
        "test": ["test/dog/4.png"],
    }
    assert data.classes == ["cat", "dog"]


def test_a_part_without_folder_is_drawn_from_train_only(tmp_path, save):
    for number in range(60):
        save(f"train/{'ab'[number % 2]}/{number}.bmp")
        save(f"test/{'ab'[number % 2]}/{number}.bmp")
    data = ImageFolder(str(tmp_path))
    parts = data.splits()
    assert {data.name(i).split("/")[0] for i in parts["test"]} == {"test"} and len(parts["test"]) == 60
    assert {data.name(i).split("/")[0] for i in parts["val"]} == {"train"} and 0 < len(parts["val"]) < 20


def test_a_class_called_train_is_no_split(tmp_path, save):
    for path in ("train/1.png", "plane/2.png"):
        save(path)
    data = ImageFolder(str(tmp_path))
    assert data.classes == ["plane", "train"]


def test_drawn_splits_are_disjoint_complete_and_stable_when_files_are_added(tmp_path, save):
    for number in range(80):
        save(f"{number}.bmp")
    before = ImageFolder(str(tmp_path))
    parts = before.splits()
    assert sorted(np.concatenate(list(parts.values()))) == list(range(80))
    where = {before.name(i): split for split, rows in parts.items() for i in rows}
    save("000.bmp")
    after = ImageFolder(str(tmp_path))
    moved = {after.name(i): split for split, rows in after.splits().items() for i in rows}
    assert all(moved[name] == split for name, split in where.items())


def test_unreadable_files_are_damaged_with_a_reason(tmp_path, save):
    good = save("good.jpg")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    data = ImageFolder(str(tmp_path))
    found = {data.name(i): data[i] for i in range(len(data))}
    assert isinstance(found["good.jpg"], Sample)
    reasons = {name: item.reason for name, item in found.items() if isinstance(item, Damaged)}
    assert set(reasons) == {"cut.jpg", "empty.png", "text.jpg", "gone.png"}
    assert reasons["empty.png"] == "empty file"
    assert reasons["gone.png"] == "No such file or directory"
    batch = data.collate([data[i] for i in range(len(data))])
    assert len(batch) == 1 and len(batch.damaged) == 4


def test_links_are_followed_and_a_loop_ends(tmp_path, save):
    save("a/1.png")
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)
    outside = tmp_path.parent / f"{tmp_path.name}_outside"
    outside.mkdir()
    save("a/1.png").rename(outside / "2.png")
    (tmp_path / "b").symlink_to(outside, target_is_directory=True)
    (tmp_path / "c").symlink_to(outside, target_is_directory=True)  # the same place again
    assert len(ImageFolder(str(tmp_path))) == 1


def test_a_link_to_itself_is_no_trouble(tmp_path, save):
    save("a.png")
    for name in ("loop", "loop.png"):
        (tmp_path / name).symlink_to(tmp_path / name)
    data = ImageFolder(str(tmp_path))
    assert data.paths == ["a.png", "loop.png"]
    assert isinstance(data[1], Damaged) and "symbolic links" in data[1].reason


def test_names_that_are_no_text(tmp_path, save):
    place = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        save("a.png").rename(os.fsdecode(place))
    except OSError:
        pytest.skip("this file system has no such names")
    data = ImageFolder(str(tmp_path))
    assert isinstance(data[0], Sample) and data.name(0) == "caf\\udce9.png"
    assert sum(map(len, data.splits().values())) == 1 and data.digest()


def test_a_folder_named_like_an_image_is_passed_by(tmp_path, save):
    save("a.png")
    (tmp_path / "b.png").mkdir()
    assert len(ImageFolder(str(tmp_path))) == 1


def test_equal_files_have_equal_content_and_others_not(tmp_path, save):
    one = save("1.png")
    (tmp_path / "2.png").write_bytes(one.read_bytes())
    save("3.png")
    content = [sample.content for sample in ImageFolder(str(tmp_path))]
    assert content[0] == content[1] != content[2]


def test_digest_changes_with_content_names_and_nothing_else(tmp_path, save):
    place = save("1.bmp")
    before = ImageFolder(str(tmp_path)).digest()
    assert ImageFolder(str(tmp_path)).digest() == before
    raw = bytearray(place.read_bytes())
    raw[-1] ^= 1
    place.write_bytes(raw)
    changed = ImageFolder(str(tmp_path)).digest()
    assert changed != before
    place.rename(tmp_path / "2.bmp")
    assert ImageFolder(str(tmp_path)).digest() not in (before, changed)


def test_pictures_of_one_size_are_stacked_as_they_were_decoded(tmp_path, save, picture):
    for number in range(3):
        save(f"{number}.jpg", picture(40, 32))
    folder = ImageFolder(str(tmp_path))
    images = folder.batch([0, 1, 2]).data["image"]
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, torch.stack([folder[index].data["image"] for index in range(3)]))


def test_sizes_that_differ_collate_to_a_list(tmp_path, save, picture):
    save("1.png", picture(8, 8))
    save("2.png", picture(9, 8))
    data = ImageFolder(str(tmp_path))
    images = data.collate([data[0], data[1]]).data["image"]
    assert [tuple(image.shape) for image in images] == [(3, 8, 8), (3, 8, 9)]


def test_max_side(tmp_path, save, picture):
    save("1.jpg", picture(64, 64))
    assert ImageFolder(str(tmp_path), max_side=32)[0].data["image"].shape == (3, 32, 32)
    with pytest.raises(ConfigError, match=r"max_side: found 0; allowed: pixels, at least 1"):
        ImageFolder(str(tmp_path), max_side=0)


def test_errors_name_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"source: found no folder '/nowhere'; allowed: a folder that holds images\."):
        ImageFolder("/nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no image in .* or below; allowed: files ending in \.bmp, .*\.webp"):
        ImageFolder(str(tmp_path))


def test_accepts(tmp_path):
    assert ImageFolder.accepts(str(tmp_path))
    assert not ImageFolder.accepts(str(tmp_path / "x.csv")) and not ImageFolder.accepts("photographs")


def test_index_out_of_range(tmp_path, save):
    save("1.png")
    data = ImageFolder(str(tmp_path))
    assert data[-1].index == 0
    with pytest.raises(IndexError):
        data[1]


def test_works_in_worker_processes(tmp_path, save):
    for number in range(6):
        save(f"{number}.png")
    data = ImageFolder(str(tmp_path))
    loader = DataLoader(data, batch_size=2, num_workers=2, collate_fn=data.collate)
    batches = list(loader)
    assert all(isinstance(batch, Batch) for batch in batches)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(6))
    assert pickle.loads(pickle.dumps(data)).paths == data.paths


def test_unreadable_folder(tmp_path, save, monkeypatch):
    save("1.png")

    def refuse(place: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match="Permission denied; allowed: a folder that can be read"):
        ImageFolder(str(tmp_path))


def test_one_class_folder_is_told_where_labels_are_needed(tmp_path, save):
    for path in ("cat/a.png", "cat/b.png"):
        save(path)
    data = ImageFolder(str(tmp_path))
    told = r"data: found no labels \(one class \('cat'\) only; two are needed\); allowed: labels, to classify"
    with pytest.raises(DataError, match=told):
        known(data, np.arange(2), "classify")
    assert not ImageFolder(str(tmp_path), labelled=False).absent
    save("dog/c.png")
    assert not ImageFolder(str(tmp_path)).absent


def test_a_table_of_targets_in_the_folder(tmp_path, save):
    for path in ("a.png", "b/c.png", "b/d.png"):
        save(path)
    (tmp_path / "targets.csv").write_text("path,target\nb/c.png,1.5\na.png,\ngone.png,3\n")
    data = ImageFolder(str(tmp_path))
    assert [data[i].target for i in range(3)] == [None, 1.5, None]
    assert data.notes == ("targets.csv names 1 files that are not here.",)
    (tmp_path / "targets.csv").write_text("path,target\nb/c.png,1.5\na.png,abc\n")
    with pytest.raises(DataError, match="target: found 'abc' in row 2; allowed: finite numbers"):
        ImageFolder(str(tmp_path))
    (tmp_path / "targets.csv").write_text("path,colour\na.png,red\n")
    with pytest.raises(
        DataError, match=r"targets.csv: found columns path, colour; allowed: a column of numbers called"
    ):
        ImageFolder(str(tmp_path))
