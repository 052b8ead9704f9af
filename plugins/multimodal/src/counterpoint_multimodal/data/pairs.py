"""Pictures with their captions: what every source has in common."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from counterpoint import plugin
from counterpoint.errors import ConfigError, message
from counterpoint.parts import SPLITS, Dataset, content_id
from counterpoint.sources import columns
from counterpoint.types import Batch, Damaged, Sample
from counterpoint_multimodal.data.captions import LONGEST, clean, encode, pad
from counterpoint_multimodal.data.groups import connected

SHARE = 10
"""Percent of the groups that go to each of val and test where the split is drawn."""


@dataclass
class Records:
    """What a source tells of its samples when it is opened.

    Attributes:
        names: what a person calls each sample, all different.
        captions: of each sample, as they are written.
        pictures: of each sample, what tells its picture from others (a path, a hash of the bytes); None: the names do.
        labels: class of each sample, None or "" for unknown; or None.
        split: ``train``, ``val`` or ``test`` of each sample; or None.
        columns: further facts of each sample by name.
        notes: what was left out or guessed, a sentence each.
    """

    names: list[str]
    captions: list[list[str]]
    pictures: Sequence[Hashable] | None = None
    labels: list[Any] | None = None
    split: list[Any] | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Pairs(Dataset):
    """Base of the sources: samples with ``image`` uint8 ``(3, H, W)`` and ``text`` uint8 ``(L,)``.

    The text is the UTF-8 of all captions, one a line (see `captions.encode`); a batch pads it with zeros. A subclass
    calls `_fill` in its constructor and writes `_raw`.

    Attributes:
        captions: of each sample, cleaned, each once; ``[""]`` where there is none, which comes back as `Damaged`.
        columns: further facts of each sample by the name of their column.
    """

    captions: list[list[str]]
    columns: dict[str, list[Any]]

    def _fill(self, records: Records, max_side: int | None, lower: bool) -> None:
        """Take over what a source found.

        Raises:
            ConfigError: ``max_side`` is no size.
            DataError: no sample, or a split of another name.
        """
        if max_side is not None and max_side < 1:
            raise ConfigError(message("max_side", max_side, "pixels, at least 1, or nothing for the full size"))
        self.max_side, self.columns = max_side, records.columns
        self._names = records.names
        self._pictures: Sequence[Hashable] = records.names if records.pictures is None else records.pictures
        self.captions = [_cleaned(captions, lower) for captions in records.captions]
        if records.labels is not None:
            self.labels, self.classes = columns.classes(records.labels)
        self.parts = None if records.split is None else columns.parts(records.split)
        self.notes = (*records.notes, *self._told(records.captions))

    @abstractmethod
    def _raw(self, index: int) -> bytes:
        """The file of picture ``index``; OSError or ValueError, with the reason, where it cannot be read."""

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Sample | Damaged:
        """Sample with ``image`` and ``text``; `Damaged` without a caption, or where the picture cannot be read."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if not self.captions[index][0]:
            return Damaged(index, self.name(index), "no caption")
        try:
            raw = self._raw(index)
            image = self._decode(raw, self.max_side)
        except OSError as error:
            return Damaged(index, self.name(index), error.strerror or str(error))
        except ValueError as error:
            return Damaged(index, self.name(index), str(error))
        return self._sample(index, image, raw)

    def _sample(self, index: int, image: Tensor, raw: bytes) -> Sample:
        label = None if self.labels is None or self.labels[index] < 0 else int(self.labels[index])
        data = {"image": image, "text": encode(self.captions[index])}
        return Sample(index, data, label, self._shared.get(index) or content_id(raw))

    @cached_property
    def _decode(self) -> Callable[[bytes, int | None], Tensor]:
        part = plugin.get("vision").decode
        assert part is not None  # counterpoint-vision, a declared dependency, has one
        decode: Callable[[bytes, int | None], Tensor] = part.load()
        return decode

    @cached_property
    def _shared(self) -> dict[int, int]:
        """Content id of each sample that is not alone in its group."""
        groups = self.groups()
        alone = np.bincount(groups, minlength=len(self))[groups] == 1
        return {i: self._group_content(int(groups[i])) for i in np.flatnonzero(~alone).tolist()}

    def _group_content(self, first: int) -> int:
        return content_id(f"group\0{self._names[first]}\0{self.captions[first][0]}".encode("utf-8", "surrogateescape"))

    def groups(self) -> np.ndarray:
        """``(N,)`` int64: the number of the first sample of each one's group.

        Samples that share a picture or, whatever the case of its letters, a caption are one group, and so are those
        that are linked through others. They are never each other's negatives, and all of them are right answers.
        """
        return self._groups

    @cached_property
    def _groups(self) -> np.ndarray:
        texts = [[caption.casefold() for caption in captions if caption] for captions in self.captions]
        return connected(texts, self._pictures)

    def collate(self, samples: Sequence[Sample | Damaged]) -> Batch:
        """Samples -> `Batch`: ``text`` is one ``(B, L)`` tensor, padded with zeros."""
        batch = super().collate(samples)
        if "text" in batch.data:
            batch.data["text"] = pad(list(batch.data["text"]))
        return batch

    def name(self, index: int) -> str:
        """What a person calls the sample; bytes in it that are no UTF-8 are written as escapes."""
        return self._names[index].encode("utf-8", "backslashreplace").decode()

    def splits(self) -> dict[str, np.ndarray]:
        """The official parts where the data have them; a part that is missing is drawn from train.

        10 % are drawn, whole groups, by a hash of a name, so that samples which come later move few others.
        """
        part = np.zeros(len(self), dtype=np.int64) if self.parts is None else self.parts.copy()
        draw, free = self._draw(), part == 0
        for number, low in ((2, 0), (1, SHARE)):
            if not (part == number).any():
                part[free & (draw >= low) & (draw < low + SHARE)] = number
        return {split: np.flatnonzero(part == number) for number, split in enumerate(SPLITS)}

    def _draw(self) -> np.ndarray:
        """``(N,)`` from 0 to 99, one number for a group."""
        least: dict[int, str] = {}
        for group, name in zip(self.groups().tolist(), self._names):
            least[group] = min(name, least.get(group, name))
        drawn = {group: content_id(name.encode("utf-8", "surrogateescape")) % 100 for group, name in least.items()}
        return np.array([drawn[group] for group in self.groups().tolist()], dtype=np.int64)

    def digest(self) -> str:
        """From every name, caption and label, and from the pictures as far as the source knows them."""
        state = hashlib.blake2b(digest_size=16)
        for index, fingerprint in enumerate(self._fingerprints()):
            label = -1 if self.labels is None else int(self.labels[index])
            told = "\0".join((self._names[index], str(label), *self.captions[index], ""))
            state.update(told.encode("utf-8", "surrogateescape") + fingerprint)
        return state.hexdigest()

    @abstractmethod
    def _fingerprints(self) -> Iterable[bytes]:
        """Of each picture, what changes when it does."""

    def _told(self, written: list[list[str]]) -> list[str]:
        """Notes on what was done to the captions."""
        cut = sum(len(caption) > LONGEST for captions in written for caption in captions)
        none = sum(not captions[0] for captions in self.captions)
        groups = self.groups()
        shared = len(self) - int((np.bincount(groups, minlength=len(self)) == 1).sum())
        notes = [f"Cut at {LONGEST:,} characters: {cut:,} captions."] if cut else []
        notes += [f"Without a caption: {none:,} of {len(self):,} samples, which are skipped."] if none else []
        if shared:
            notes.append(f"Sharing a caption or a picture: {shared:,} of {len(self):,} samples, no one's negatives.")
        if self.parts is not None:
            known = np.isin(groups, groups[self.parts == 0])
            leaked = int((known & (self.parts > 0)).sum())
            notes += [f"In the official val and test: {leaked:,} samples share either with train."] if leaked else []
        return notes


def _cleaned(captions: Sequence[str], lower: bool) -> list[str]:
    found = dict.fromkeys(clean(caption, lower) for caption in captions)
    return [caption for caption in found if caption] or [""]
