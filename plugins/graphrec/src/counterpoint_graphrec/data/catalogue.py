"""The items as samples: what maps, neighbours and embeddings of an interaction table are about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow.compute
import torch

from counterpoint.parts import Dataset
from counterpoint.types import Batch, Sample
from counterpoint_graphrec.data.ids import Texts
from counterpoint_graphrec.data.mixing import mixed


class Catalogue(Dataset):
    """One sample an item; its name is its title, with the id behind it where several share one.

    Args:
        item_names: ids by item number, each once.
        titles: by item number; or None.
        groups: category by item number, "" unknown; or None. They become the labels.
    """

    in_memory = True

    def __init__(self, item_names: Texts, titles: Texts | None = None, groups: Texts | None = None) -> None:
        self.titles = item_names if titles is None else _unique(titles, item_names)
        self.item_names = item_names
        if groups is not None:
            self.labels, self.classes = _labels(groups)

    def __len__(self) -> int:
        return len(self.item_names)

    def __getitem__(self, index: int) -> Sample:
        """Sample with ``item``: its number, an int64 scalar."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        label = None if self.labels is None or self.labels[index] < 0 else int(self.labels[index])
        return Sample(index, {"item": torch.tensor(index)}, label, int(_content(np.array([index]))[0]))

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at ``indices``: ``item`` ``(B,)`` int64."""
        index = np.asarray(indices, dtype=np.int64).reshape(-1)
        label = None if self.labels is None else torch.from_numpy(self.labels[index])
        number = torch.from_numpy(index)
        return Batch({"item": number}, number, torch.from_numpy(_content(index)), label)

    def name(self, index: int) -> str:
        """The item's title."""
        return self.titles[index]

    def digest(self) -> str:
        """From ids, names and categories."""
        state = hashlib.blake2b(self.item_names.bytes() + self.titles.bytes(), digest_size=16)
        if self.labels is not None:
            state.update(self.labels.tobytes() + repr(self.classes).encode())
        return state.hexdigest()


def _content(numbers: np.ndarray) -> np.ndarray:
    return mixed(numbers, np.zeros_like(numbers), seed=1)


def _unique(titles: Texts, ids: Texts) -> Texts:
    """``titles`` with the id behind those that are not alone."""
    names = np.array(titles.values.to_pylist(), dtype=object)
    own = np.array(ids.values.to_pylist(), dtype=object)
    while len(twice := _repeated(names)):
        names[twice] = names[twice] + " [" + own[twice] + "]"
    return Texts(names)


def _repeated(names: np.ndarray) -> np.ndarray:
    codes = pyarrow.array(names, type=pyarrow.string()).dictionary_encode().indices.to_numpy()
    return np.flatnonzero(np.bincount(codes)[codes] > 1)


def _labels(groups: Texts) -> tuple[np.ndarray, list[str]]:
    """``(N,)`` int64 with -1 for "", and the classes in alphabetical order."""
    classes = sorted(set(pyarrow.compute.unique(groups.values).to_pylist()) - {""})
    found = pyarrow.compute.index_in(groups.values, value_set=pyarrow.array(classes, type=pyarrow.string()))
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), classes
