"""The tokenizer: learnt from captions, kept in a buffer, and what odd texts become."""

from __future__ import annotations

import pytest
import torch

from counterpoint.errors import ConfigError, DataError
from counterpoint_multimodal.encoders import Tokenizer

pytestmark = pytest.mark.unit
TEXTS = ["a red circle", "a blue square", "Straße in 東京 🎉", "a red square"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(vocabulary=300, max_tokens=12)
    made.learn(TEXTS)
    return made


def test_a_text_stands_between_sot_and_eot_and_padding_comes_last(tokenizer: Tokenizer) -> None:
    ids, mask = tokenizer(["a red circle", "a"])
    assert tokenizer.words(ids[1].tolist())[:3] == ["[SOT]", "Ġa", "[EOT]"]
    assert mask.tolist()[1] == [True] * 3 + [False] * (ids.shape[1] - 3)
    assert (ids[~mask] == 0).all() and bool(mask[0].all())
    found = tokenizer(["a red circle", "a"])
    assert [int(row[end]) for row, end in zip(found.ids, found.eot)] == [2, 2]


@pytest.mark.parametrize("text", ["", "東京タワー", "\x7f🏳️‍🌈 مرحبا", "[EOT] [PAD]", "x" * 10_000])
def test_any_text_has_ids_and_they_say_it_back(tokenizer: Tokenizer, text: str) -> None:
    ids, mask = tokenizer([text])
    assert ids.shape[1] <= 12 and bool(mask.all())
    inner = ids[0, 1:-1].tolist()
    assert ids[0, 0] == 1 and ids[0, -1] == 2 and not {0, 1, 2} & set(inner)  # also where a caption says "[EOT]"
    if len(inner) < 10:
        assert "".join(_back(tokenizer, inner)).strip() == text.lower().strip()


def _back(tokenizer: Tokenizer, ids: list[int]) -> str:
    from tokenizers.decoders import ByteLevel

    return ByteLevel().decode([tokenizer.rules.id_to_token(number) for number in ids])


def test_case_and_composition_do_not_matter(tokenizer: Tokenizer) -> None:
    assert torch.equal(tokenizer(["A RED Circle"]).ids, tokenizer(["a red circle"]).ids)
    assert torch.equal(tokenizer(["cafe\u0301"]).ids, tokenizer(["caf\u00e9"]).ids)


def test_the_same_captions_give_the_same_tokens(tokenizer: Tokenizer) -> None:
    again = Tokenizer(vocabulary=300, max_tokens=12)
    again.learn(iter(TEXTS))
    assert torch.equal(again.file, tokenizer.file)


def test_it_is_saved_as_a_buffer_and_loads_strictly_into_a_blank_one(tokenizer: Tokenizer) -> None:
    blank = Tokenizer(vocabulary=300, max_tokens=12)
    assert not blank.ready
    blank.load_state_dict(tokenizer.state_dict(), strict=True)
    assert torch.equal(blank(TEXTS).ids, tokenizer(TEXTS).ids)


def test_another_one_that_is_loaded_replaces_it(tokenizer: Tokenizer) -> None:
    other = Tokenizer(vocabulary=300, max_tokens=12)
    other.learn(["ein roter Kreis", "ein blauer Kreis"])
    before = other(["a red circle"]).ids
    other.load_state_dict(tokenizer.state_dict())
    assert other(["a red circle"]).ids.shape != before.shape


def test_no_text_gives_no_row(tokenizer: Tokenizer) -> None:
    assert tokenizer([]).ids.shape == (0, 2)
    assert tokenizer([]).eot.shape == (0,)


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"vocabulary: found 258; allowed: a whole number from 259"):
        Tokenizer(vocabulary=258).learn(TEXTS)
    with pytest.raises(ConfigError, match="max_tokens: found 2"):
        Tokenizer(max_tokens=2)
    with pytest.raises(ConfigError, match=r"tokenizer: found none; .*prepare\(dataset\)"):
        Tokenizer()(["a"])
    with pytest.raises(DataError, match="captions: found none"):
        Tokenizer().learn(["", "  "])
