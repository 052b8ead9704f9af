"""Vectors of pictures and texts: in order, whatever the chunks, by the head that is asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from coloured import AsTheyAre, Coloured, Told
from counterpoint_multimodal import embedding
from counterpoint_multimodal.embedding import embed_images, embed_texts, roles

pytestmark = pytest.mark.unit


def told(local: bool = False) -> Told:
    def text(words: str, role: str) -> Tensor:
        return torch.tensor([len(words), float(role == "local"), float("  " in words)])

    return Told(lambda colour, role: torch.tensor([*map(float, colour)]) + (role == "local"), text, local)


def test_texts_in_order_cleaned_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a  b", "", "abc\ndef", "ü" * 7, "x"]
    found = embed_texts(told(), AsTheyAre(), texts, "local")
    assert found.tolist() == [[3, 1, 0], [0, 1, 0], [7, 1, 0], [7, 1, 0], [1, 1, 0]]
    monkeypatch.setattr(embedding, "TEXTS", 2)
    assert torch.equal(embed_texts(told(), AsTheyAre(), texts, "local"), found)
    assert embed_texts(told(), AsTheyAre(), []).shape == (0, 3)


def test_pictures_by_either_head() -> None:
    data = Coloured([((1, 2, 3), ["a"], "val"), ((4, 5, 6), ["b"], "val")])
    batch = data.batch([1, 0])
    assert embed_images(told(), AsTheyAre(), batch).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert embed_images(told(), AsTheyAre(), batch, "local").tolist() == [[5, 6, 7], [2, 3, 4]]


def test_an_encoder_tells_which_heads_it_has() -> None:
    assert roles(told()) == ("global",)
    assert roles(told(local=True)) == ("global", "local")
