"""Pictures with their captions: what every source has in common."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from counterpoint import plugin
from counterpoint.errors import ConfigError, DataError, message
from counterpoint.parts import SPLITS, Dataset, content_id
from counterpoint.types import Batch, Damaged, Sample
from counterpoint_multimodal.data.captions import LONGEST, clean, encode, pad
from counterpoint_multimodal.data.groups import completed, connected, shared_keys
from counterpoint_multimodal.data.pictures import Pictures


@dataclass
class Records:
    """What a source tells of its samples when it is opened.

    Attributes:
        names: what a person calls each sample, all different.
        captions: of each sample, as they are written.
        pictures: of each sample, what tells its picture from others (a path, a hash of the bytes); None: the names do.
        labels: ``(N,)`` int64 and the names of the classes; or (None, None).
        parts: ``(N,)`` number of each sample's official split; or None.
        columns: further facts of each sample by name.
        notes: what was left out or guessed, a sentence each.
        captioned: whether there should be captions; without any the pictures are there alone, see `Pairs.entities`.
    """

    names: list[str]
    captions: list[list[str]]
    pictures: Sequence[Hashable] | None = None
    labels: tuple[np.ndarray, list[str]] | tuple[None, None] = (None, None)
    parts: np.ndarray | None = None
    columns: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    captioned: bool = True


class Pairs(Dataset):
    """Base of the sources: samples with ``image`` uint8 ``(3, H, W)`` and ``text`` uint8 ``(L,)``.

    The text is the UTF-8 of all captions, one a line (see `captions.encode`); a batch pads it with zeros. A subclass
    calls `_fill` in its constructor and writes `_raw` and `_fingerprints`.

    Attributes:
        captions: of each sample, cleaned, each once; ``[""]`` where there is none, which comes back as `Damaged`.
        columns: further facts of each sample by the name of their column.
        parts: ``(N,)`` number of each sample's official split (0 train, 1 val, 2 test), or None.
    """

    captions: list[list[str]]
    columns: dict[str, list[Any]]
    parts: np.ndarray | None

    def _fill(self, records: Records, max_side: int | None, lower: bool) -> None:
        """Take over what a source found.

        Raises:
            ConfigError: ``max_side`` is no size.
            DataError: no sample has a caption, where there should be some.
        """
        if max_side is not None and max_side < 1:
            raise ConfigError(message("max_side", max_side, "pixels, at least 1, or nothing for the full size"))
        self.max_side, self.columns, self.parts = max_side, records.columns, records.parts
        self._names = records.names
        self._pictures: Sequence[Hashable] = records.names if records.pictures is None else records.pictures
        self.captions = [_cleaned(captions, lower) for captions in records.captions]
        if records.captioned and not any(captions[0] for captions in self.captions):
            raise DataError(message("caption", f"none for {len(self):,} pictures", "one for some of them at least"))
        self.labels, self.classes = records.labels
        self.notes = (*records.notes, *self._told(records.captions))

    @abstractmethod
    def _raw(self, index: int) -> bytes:
        """The file of picture ``index``; OSError or ValueError, with the reason, where it cannot be read."""

    def _picture(self, index: int) -> tuple[Tensor, int]:
        """Pixels and content id of picture ``index``; OSError or ValueError where it cannot be read."""
        raw = self._raw(index)
        return self._decode(raw, self.max_side), content_id(raw)

    @cached_property
    def _decode(self) -> Callable[[bytes, int | None], Tensor]:
        part = plugin.get("vision").decode
        assert part is not None  # counterpoint-vision, a declared dependency, has one
        decode: Callable[[bytes, int | None], Tensor] = part.load()
        return decode

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Sample | Damaged:
        """Sample with ``image`` and ``text``; `Damaged` without a caption, or where the picture cannot be read."""
        index = self._checked(index)
        if not self.captions[index][0]:
            return Damaged(index, self.name(index), "no caption")
        sample = self.picture(index)
        if isinstance(sample, Damaged):
            return sample
        return replace(sample, data={**sample.data, "text": encode(self.captions[index])})

    def picture(self, index: int) -> Sample | Damaged:
        """Sample with ``image`` alone, whether or not it has a caption; `Damaged` where it cannot be read."""
        index = self._checked(index)
        try:
            image, content = self._picture(index)
        except OSError as error:
            return Damaged(index, self.name(index), error.strerror or str(error))
        except ValueError as error:
            return Damaged(index, self.name(index), str(error))
        label = None if self.labels is None or self.labels[index] < 0 else int(self.labels[index])
        return Sample(index, {"image": image}, label, self._shared.get(index, content))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return index % len(self)

    def collate(self, samples: Sequence[Sample | Damaged]) -> Batch:
        """Samples -> `Batch`: ``text`` is one ``(B, L)`` tensor, padded with zeros."""
        batch = super().collate(samples)
        if "text" in batch.data:
            batch.data["text"] = pad(list(batch.data["text"]))
        return batch

    def entities(self) -> Dataset:
        """The pictures, with a caption or without: a caption beside its picture would give away the class."""
        return Pictures(self)

    def groups(self) -> np.ndarray:
        """``(N,)`` int64: the number of the first sample of each one's group.

        Samples that share a picture or, whatever the case of its letters, a caption are one group, and so are those
        that are linked through others. They are never each other's negatives, and all of them are right answers.
        Pictures in memory are told apart by their bytes, those in files and archives by their path.
        """
        return self._groups

    @cached_property
    def _groups(self) -> np.ndarray:
        pairs = zip(self.captions, self._pictures)
        return connected([shared_keys(captions, picture) for captions, picture in pairs])

    @cached_property
    def _shared(self) -> dict[int, int]:
        """Content id of each sample that is not alone in its group; that of the others is their picture's."""
        groups = self.groups()
        several = np.bincount(groups, minlength=len(self))[groups] > 1
        return {index: self._content(int(groups[index])) for index in np.flatnonzero(several).tolist()}

    def _content(self, first: int) -> int:
        told = "\0".join(("group", self._names[first], *self.captions[first]))
        return content_id(told.encode("utf-8", "surrogateescape"))

    def splits(self) -> dict[str, np.ndarray]:
        """The official parts where the data have them; a part that is missing is drawn from train.

        10 % are drawn, whole groups, by a hash of a name, so that samples which come later move few others.
        """
        part = completed(self.parts, self.groups(), self._names)
        return {split: np.flatnonzero(part == number) for number, split in enumerate(SPLITS)}

    def name(self, index: int) -> str:
        """What a person calls the sample; bytes in it that are no UTF-8 are written as escapes."""
        return self._names[index].encode("utf-8", "backslashreplace").decode()

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
        """Notes on what was done to the captions, and on what shares them."""
        cut = sum(len(caption) > LONGEST for captions in written for caption in captions)
        none = sum(not captions[0] for captions in self.captions)
        notes = [f"Cut at {LONGEST:,} characters: {cut:,} captions."] if cut else []
        if not any(written):
            notes.append("No captions: the pictures can be searched and classified, but nothing is trained with them.")
        elif none:
            notes.append(f"Without a caption: {none:,} of {len(self):,} samples, which are skipped in training.")
        if self._shared:
            count = f"{len(self._shared):,} of {len(self):,} samples"
            notes.append(f"Sharing a caption or a picture: {count}, which are not each other's negatives.")
        if self.parts is not None:
            known = np.isin(self.groups(), self.groups()[self.parts == 0])
            leaked = int((known & (self.parts > 0)).sum())
            notes += [f"In val and test: {leaked:,} samples share one with train."] if leaked else []
        return notes


def _cleaned(captions: Sequence[str], lower: bool) -> list[str]:
    """Each caption once, whatever the case of its letters."""
    found: dict[str, str] = {}
    for caption in captions:
        cleaned = clean(caption, lower)
        if cleaned:
            found.setdefault(cleaned.casefold(), cleaned)
    return list(found.values()) or [""]
