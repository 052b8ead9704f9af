"""Captions as they travel: cleaned, and several of a picture in one row of bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

LONGEST = 2_000
"""Characters of a caption; what is longer is cut."""
_SEPARATOR = "\n"
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ud800-\udfff]")
"""All but those that are white space; and halves of characters, which no encoding can write."""


def clean(caption: str, lower: bool = False) -> str:
    """A caption in one form: NFC, without control characters, each run of white space (newlines too) one space.

    Args:
        caption: any text of any script.
        lower: in small letters.

    Returns:
        At most `LONGEST` characters; "" where nothing is left.
    """
    if not (caption.isascii() and caption.isprintable()):
        caption = unicodedata.normalize("NFC", _CONTROLS.sub("", caption))
    caption = " ".join(caption.split())[:LONGEST].rstrip()
    return caption.lower() if lower else caption


def encode(captions: Sequence[str]) -> Tensor:
    """Cleaned captions of one picture -> ``(L,)`` uint8: their UTF-8, one caption a line.

    Empty ones are left out; no zero is in it, so that zeros can pad it.
    """
    raw = _SEPARATOR.join(caption for caption in captions if caption).encode()
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).copy())


def pad(rows: Sequence[Tensor]) -> Tensor:
    """Rows ``(L_i,)`` uint8 -> ``(B, L)`` uint8, filled up with zeros to the longest of them (L is at least 1)."""
    if not rows:
        return torch.zeros(0, 1, dtype=torch.uint8)
    padded = pad_sequence(list(rows), batch_first=True)
    return padded if padded.shape[1] else padded.new_zeros(len(rows), 1)


def decode(rows: Tensor) -> list[list[str]]:
    """``(B, L)`` uint8, padded with zeros -> each row's captions; a row of zeros has none."""
    texts = (row.tobytes().rstrip(b"\0").decode() for row in rows.cpu().numpy())
    return [text.split(_SEPARATOR) if text else [] for text in texts]
