"""Captions: one form, and there and back as bytes."""

from __future__ import annotations

import pytest
import torch

from counterpoint_multimodal.data.captions import LONGEST, clean, decode, encode, pad

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("a red shoe", "a red shoe"),
        ("  a\tred\r\n shoe ", "a red shoe"),
        ("a\x00 \x07red\x1b\ufeff shoe\u2028here", "a red shoe here"),
        ("cafe\u0301", "caf\u00e9"),
        ("赤い 靴", "赤い 靴"),
        ("حذاء أحمر", "حذاء أحمر"),
        ("half \ud83d a pair", "half a pair"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\n\t \x00", ""),
        ("", ""),
    ],
)
def test_clean(written, cleaned):
    assert clean(written) == cleaned == clean(cleaned)
    assert clean(written, lower=True) == cleaned.lower()


def test_a_long_caption_is_cut():
    assert clean("x" * 10_000) == "x" * LONGEST
    assert len(clean("ab " * 10_000)) <= LONGEST and not clean("ab " * 10_000).endswith(" ")
    assert clean("靴" * 10_000) == "靴" * LONGEST


def test_there_and_back():
    captions = [["a red shoe", "rote Schuhe, größer"], ["赤い靴"], []]
    rows = pad([encode(own) for own in captions])
    assert rows.dtype == torch.uint8 and rows.shape == (3, len("a red shoe\nrote Schuhe, größer".encode()))
    assert decode(rows) == captions
    assert bytes(rows[1].tolist()).rstrip(b"\0").decode() == "赤い靴"


def test_empty_ones_are_left_out_of_a_row():
    assert decode(pad([encode(["", "a shoe", ""])])) == [["a shoe"]]


def test_padding_nothing_keeps_two_dimensions():
    assert pad([]).shape == (0, 1) and pad([encode([])]).shape == (1, 1)
    assert decode(pad([])) == [] and decode(pad([encode([])])) == [[]]
