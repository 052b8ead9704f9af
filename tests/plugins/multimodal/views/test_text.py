"""Text views: which caption, which operation, odd texts, and where it goes wrong."""

from __future__ import annotations

import re
from collections import Counter
from random import Random
from typing import Any

import pytest
import torch

from counterpoint.errors import ConfigError, DataError, ShapeError
from counterpoint.types import Batch
from counterpoint_multimodal.data.captions import decode, encode, pad
from counterpoint_multimodal.views.text import TextAugmentation, captions_of, text_view, view_of

pytestmark = pytest.mark.unit

CAPTION = "the red shoe of a man on the beach"
CPU = torch.device("cpu")


def batch_of(captions: list[list[str]]) -> Batch:
    count = torch.arange(len(captions))
    return Batch({"text": pad([encode(each) for each in captions])}, count, count)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(captions: list[list[str]], strength: Any = "none", seed: int = 0, **settings: float) -> list[str]:
    view = text_view(batch_of(captions), strength, TextAugmentation(**settings), seeded(seed))
    assert view.modality == "text" and view.data["text"].dtype == torch.uint8
    return [(texts or [""])[0] for texts in decode(view.data["text"])]


def test_each_caption_is_drawn_as_often() -> None:
    found = Counter(drawn([["one", "two", "three"]] * 3000))
    assert set(found) == {"one", "two", "three"}
    assert all(abs(count - 1000) < 100 for count in found.values())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_stop_words_go_with_their_probability(share: float) -> None:
    found = Counter(drawn([[CAPTION]] * 2000, "weak", stop_words=share))
    assert set(found) <= {CAPTION, "red shoe man beach"}
    assert found["red shoe man beach"] / 2000 == pytest.approx(share, abs=0.04)


def test_operations_are_drawn_by_weight() -> None:
    """Only the ratios count; what is done to four different words tells which operation it was."""
    caption = "red shoe man beach"
    weights = {"identity": 2.0, "synonym": 4.0, "swap": 3.0, "deletion": 1.0}
    texts = drawn([[caption]] * 4000, "strong", stop_words=0.0, deletion_p=1.0, **weights)
    found: Counter[str] = Counter()
    for text in texts:
        if text == caption:
            found["identity"] += 1
        elif len(text.split()) == 1:
            found["deletion"] += 1
        else:
            found["swap" if sorted(text.split()) == sorted(caption.split()) else "synonym"] += 1
    for name, weight in weights.items():
        assert found[name] / 4000 == pytest.approx(weight / 10, abs=0.03), name


def test_strong_first_leaves_stop_words_out() -> None:
    found = Counter(len(text.split()) for text in drawn([[CAPTION]] * 300, "strong", stop_words=1.0, deletion=0.0))
    assert set(found) == {4}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("xyzzy", {"xyzzy"}),  # one word that no table knows: nothing can be done
        ("car", {"automobile", "auto"}),  # only a synonym
        ("xyzzy plugh", {"plugh xyzzy", "xyzzy plugh", "xyzzy", "plugh"}),  # no synonym
        ("赤い靴", {"赤い靴"}),  # written without spaces
        ("the of a", {"of the a", "a of the", "the a of", "the of a", "the of", "the a", "of a", "the", "of", "a"}),
        ("", {""}),
    ],
)
def test_only_what_can_be_done_is_drawn(caption: str, expected: set[str]) -> None:
    augmentation = TextAugmentation(deletion_p=0.5)
    found = {augmentation.strong(caption, Random(seed)) for seed in range(300)}
    assert found == expected


def test_all_weights_at_zero_leave_the_words() -> None:
    augmentation = TextAugmentation(stop_words=0.0, synonym=0.0, swap=0.0, deletion=0.0)
    assert augmentation.strong(CAPTION, Random(0)) == augmentation.weak(CAPTION, Random(0)) == CAPTION


def test_a_view_is_a_function_of_the_generator_alone() -> None:
    captions = [[CAPTION, "a dog in the snow"]] * 20
    first = drawn(captions, "strong", seed=3)
    torch.manual_seed(99)
    assert drawn(captions, "strong", seed=3) == first != drawn(captions, "strong", seed=4)


def test_scripts_survive() -> None:
    texts = ["красная туфля", "赤い靴", "👟 réd", "x" * 2000, ""]
    view = view_of(texts, CPU, "local")
    assert view.role == "local" and view.data["text"].shape == (5, 2000)
    assert [(each or [""])[0] for each in decode(view.data["text"])] == texts
    assert view_of(["", ""], CPU).data["text"].shape == (2, 1)


def test_rows_of_unequal_length_are_taken() -> None:
    rows = [encode(["one"]), encode(["two", "three"])]
    captions, device = captions_of(Batch({"text": rows}, torch.arange(2), torch.arange(2)))
    assert captions == [["one"], ["two", "three"]] and device == CPU


def test_what_is_no_text_is_refused() -> None:
    def refused(error: type[Exception], text: str, data: dict[str, Any]) -> None:
        with pytest.raises(error, match=re.escape(text)):
            captions_of(Batch(data, torch.arange(2), torch.arange(2)))

    refused(DataError, "batch.data['text']: found no text; allowed: uint8 texts.", {})
    wanted = "UTF-8 in uint8 (L,) a row, padded with 0"
    refused(ShapeError, f"found torch.int64 (3,) a row; allowed: {wanted}.", {"text": torch.zeros(2, 3).long()})
    refused(ShapeError, "found torch.uint8 (3, 1) a row", {"text": torch.zeros(2, 3, 1, dtype=torch.uint8)})
    refused(ShapeError, "found torch.uint8 () a row", {"text": torch.zeros(2, dtype=torch.uint8)})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"stop_words": 1.5}, "stop_words: found 1.5; allowed: a probability in [0, 1]."),
        ({"deletion_p": -0.1}, "deletion_p: found -0.1; allowed: a probability in [0, 1]."),
        ({"swap": -1.0}, "swap: found -1.0; allowed: a weight, at least 0."),
        ({"identity": float("nan")}, "identity: found nan; allowed: a weight, at least 0."),
        ({"synonym": float("inf")}, "synonym: found inf; allowed: a weight, at least 0."),
    ],
)
def test_settings_are_checked(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        TextAugmentation(**settings)
