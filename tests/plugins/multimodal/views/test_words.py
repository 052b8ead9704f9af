"""Words of a caption: what each operation may do to them, and the table of synonyms."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint_multimodal.views import words

pytestmark = pytest.mark.unit

CAPTION = st.lists(
    st.sampled_from(["a", "Red", "shoe,", "on", "the", "BEACH!", "靴", "x-1", "&"]), min_size=1, max_size=9
)


def test_stop_words_go_whatever_their_case_and_punctuation() -> None:
    caption = ["The", "red", "shoe", "(of", "a", "man)", "on", "the", "beach"]
    assert words.without_stop_words(caption) == ["red", "shoe", "man)", "beach"]


def test_what_a_picture_shows_is_no_stop_word() -> None:
    caption = ["arrow", "up", "no", "entry", "hand", "under", "table", "between", "trees", "without", "leaves"]
    assert words.without_stop_words(caption) == caption


def test_a_caption_of_stop_words_stays() -> None:
    assert words.without_stop_words(["what", "is", "this"]) == ["what", "is", "this"]


@settings(deadline=None, max_examples=30)
@given(caption=CAPTION, seed=st.integers(0, 999))
def test_laws(caption: list[str], seed: int) -> None:
    before = list(caption)
    if len(caption) > 1:
        swapped = words.swap(caption, Random(seed))
        assert Counter(swapped) == Counter(caption)
        assert sum(a != b for a, b in zip(swapped, caption)) in (0, 2)
    shorter = iter(caption)
    deleted = words.delete(caption, Random(seed), 0.5)
    assert deleted and all(word in shorter for word in deleted), "in order"
    if candidates := words.replaceable(caption):
        replaced = words.replace(caption, Random(seed), candidates)
        assert replaced != caption
        assert len(replaced) == len(caption), "several words for one stand in one place"
    assert caption == before


def test_deletion_at_its_limits() -> None:
    caption = ["red", "shoe", "beach"]
    assert words.delete(caption, Random(0), 0.0) == caption
    assert {tuple(words.delete(caption, Random(seed), 1.0)) for seed in range(30)} == {("red",), ("shoe",), ("beach",)}


def test_deletion_takes_its_share() -> None:
    caption = [str(number) for number in range(100)]
    kept = [len(words.delete(caption, Random(seed), 0.1)) for seed in range(50)]
    assert sum(kept) / 5000 == pytest.approx(0.9, abs=0.015)


def test_a_synonym_takes_every_place_and_keeps_punctuation_and_capitals() -> None:
    caption = ["Car,", "a", "CAR", "and", "cars:", "(car)"]
    found = {tuple(words.replace(caption, Random(seed), ["car"])) for seed in range(20)}
    assert found == {
        ("Automobile,", "a", "AUTOMOBILE", "and", "cars:", "(automobile)"),
        ("Auto,", "a", "AUTO", "and", "cars:", "(auto)"),
    }


def test_a_word_without_synonyms_is_not_chosen() -> None:
    assert words.replaceable(["Adidas", "the", "shoe", "shoe", "xyzzy"]) == ["shoe"]


def test_the_table() -> None:
    table = words.synonyms()
    assert len(table) > 500
    for word, others in table.items():
        assert word == word.casefold().strip() and " " not in word and word not in words.STOP_WORDS
        assert others and word not in others and len(set(others)) == len(others)
        for other in others:
            assert " " in other or word in table[other], "it holds both ways"
