"""Views of texts: one of a sample's captions, drawn, with its words changed or as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import torch

from counterpoint.errors import ConfigError, DataError, ShapeError, message
from counterpoint.types import Batch, View
from counterpoint_multimodal.data.captions import decode, pad
from counterpoint_multimodal.views import words

TEXT = "text"
Strength = Literal["none", "weak", "strong"]
STRENGTHS = ("none", "weak", "strong")


@dataclass(frozen=True)
class TextAugmentation:
    """How a caption's words are changed (CLIP-rocket's recipe).

    First, with probability ``stop_words``, the English stop words go. Then one operation of "easy data augmentation" is
    drawn by weight among those that can do something: a caption of one word is neither swapped nor shortened, and a
    synonym must be known. A step that would leave nothing is not taken.

    Attributes:
        stop_words: probability that stop words are left out.
        identity: weight of no operation.
        synonym: weight of one word, wherever it stands, in place of a synonym.
        swap: weight of two words that change places.
        deletion: weight of words left out, each with probability ``deletion_p``.
        deletion_p: see there.

    Source: Wei and Zou 2019 (arXiv 1901.11196); Fini et al. 2023 (2305.08675), appendix.
    """

    stop_words: float = 0.8
    identity: float = 0.0
    synonym: float = 0.4
    swap: float = 0.4
    deletion: float = 0.2
    deletion_p: float = 0.1

    def __post_init__(self) -> None:
        for name in ("stop_words", "deletion_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(message(name, getattr(self, name), "a probability in [0, 1]"))
        for name in ("identity", "synonym", "swap", "deletion"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(message(name, getattr(self, name), "a weight, at least 0"))

    def weak(self, caption: str, random: Random) -> str:
        """``caption``, perhaps without stop words."""
        return " ".join(self._kept(caption, random))

    def strong(self, caption: str, random: Random) -> str:
        """The same, then one operation."""
        kept = self._kept(caption, random)
        candidates = words.replaceable(kept) if self.synonym else []
        several = len(kept) > 1
        weights = (
            self.identity,
            self.synonym if candidates else 0.0,
            self.swap if several else 0.0,
            self.deletion if several else 0.0,
        )
        if any(weights):
            (operation,) = random.choices(range(4), weights)
            if operation == 1:
                kept = words.replace(kept, random, candidates)
            elif operation == 2:
                kept = words.swap(kept, random)
            elif operation == 3:
                kept = words.delete(kept, random, self.deletion_p)
        return " ".join(kept)

    def _kept(self, caption: str, random: Random) -> list[str]:
        split = caption.split()
        return words.without_stop_words(split) if random.random() < self.stop_words else split


def text_view(
    batch: Batch, strength: Strength, augmentation: TextAugmentation, generator: torch.Generator, role: str = "global"
) -> View:
    """One caption of each sample, drawn, augmented at ``strength``: data ``{"text": (B, L) uint8}``."""
    captions, device = captions_of(batch)
    random = Random(int(torch.randint(2**62, (), generator=generator)))
    change = {"none": lambda caption, _: caption, "weak": augmentation.weak, "strong": augmentation.strong}[strength]
    drawn = [change(random.choice(each), random) if each else "" for each in captions]
    return view_of(drawn, device, role)


def view_of(texts: Sequence[str], device: torch.device, role: str = "global") -> View:
    """One text a row, padded with zeros."""
    rows = [text.encode() for text in texts]
    longest = max([1, *map(len, rows)])
    padded = bytearray(b"".join(row.ljust(longest, b"\0") for row in rows))
    data = torch.frombuffer(padded, dtype=torch.uint8).view(len(rows), longest)
    return View({TEXT: data.to(device)}, TEXT, role)


def captions_of(batch: Batch) -> tuple[list[list[str]], torch.device]:
    """The captions of each sample of the batch, and where the batch is.

    Raises:
        DataError: no text in the batch.
        ShapeError: not uint8 ``(B, L)`` or rows of it.
    """
    rows = batch.data.get(TEXT)
    if rows is None or len(rows) == 0:
        todo = "All records of this batch were damaged." if batch.damaged else "Use a dataset of pictures and texts."
        raise DataError(message(f"batch.data[{TEXT!r}]", "no text", "uint8 texts", todo))
    for row in rows if isinstance(rows, list) else rows[:1]:
        if row.dtype != torch.uint8 or row.dim() != 1:
            found = f"{row.dtype} {tuple(row.shape)} a row"
            raise ShapeError(message(f"batch.data[{TEXT!r}]", found, "UTF-8 in uint8 (L,) a row, padded with 0"))
    return decode(pad(rows) if isinstance(rows, list) else rows), rows[0].device
