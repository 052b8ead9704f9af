"""Items as samples."""

from __future__ import annotations

import pytest
import torch

from counterpoint_graphrec.data import Catalogue
from counterpoint_graphrec.data.ids import Texts

pytestmark = pytest.mark.unit


def test_items_with_titles_and_groups(example):
    items = example.entities()
    assert len(items) == example.n_items and items.name(0) == example.titles[0] and items.in_memory
    assert items.classes == ["comedy", "drama", "mystery"] and items.labels.dtype == "int64"
    assert [items.classes[items.labels[i]] for i in range(5)] == list(example.groups[:5])
    batch, samples = items.batch([3, 0]), items.collate([items[3], items[0]])
    assert torch.equal(batch.data["item"], samples.data["item"]) and batch.data["item"].tolist() == [3, 0]
    assert torch.equal(batch.content, samples.content) and torch.equal(batch.label, samples.label)
    assert len(items.batch(range(len(items))).content.unique()) == len(items) and len(items.batch([])) == 0
    parts = items.splits()
    assert sum(map(len, parts.values())) == len(items)
    with pytest.raises(IndexError):
        items[len(items)]


def test_without_titles_the_ids_are_names():
    items = Catalogue(Texts(["x", "y"]))
    assert items.name(1) == "y" and items.labels is None and items[0].label is None and items[-1].index == 1


def test_names_are_made_unique():
    titles = ["Emma", "Emma", "Emma [2]", "Solaris"]
    assert list(Catalogue(Texts(["1", "2", "3", "4"]), Texts(titles)).titles) == [
        "Emma [1]",
        "Emma [2] [2]",
        "Emma [2] [3]",
        "Solaris",
    ]


def test_an_unknown_group_is_no_label():
    items = Catalogue(Texts(["x", "y", "z"]), groups=Texts(["b", "", "a"]))
    assert items.labels.tolist() == [1, -1, 0] and items.classes == ["a", "b"] and items[1].label is None


def test_the_digest_follows_names_and_groups():
    ids = Texts(["x", "y"])
    sets = [Catalogue(ids), Catalogue(ids, Texts(["1", "2"])), Catalogue(ids, groups=Texts(["a", "b"]))]
    assert len({items.digest() for items in sets}) == 3 and Catalogue(ids).digest() == sets[0].digest()
