"""The text transformer: packing is exact, padding and what follows are never seen, dropout only where it is asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.types import View
from counterpoint_multimodal.encoders import TextTransformer
from counterpoint_multimodal.encoders.text import _Packing

pytestmark = pytest.mark.unit


@pytest.fixture
def tower(captions) -> TextTransformer:
    torch.manual_seed(0)
    made = TextTransformer(width=16, layers=2, heads=2, vocabulary=300, max_tokens=12, dropout=0.5)
    made.prepare(captions)
    return made.double()


def plain(tower: TextTransformer, embeds: Tensor, eot: Tensor) -> Tensor:
    """The same network written out over padded rows."""
    length = embeds.shape[1]
    x = embeds + tower.position[:length]
    ahead = torch.full((length, length), float("-inf"), dtype=x.dtype).triu(1)
    for block in tower.blocks:
        q, k, v = block.qkv(block.norm1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in (q, k, v))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + ahead).softmax(-1)
        x = x + block.out((weights @ v).transpose(1, 2).flatten(2))
        x = x + block.back(F.gelu(block.hidden(block.norm2(x))))
    return tower.norm(x)[torch.arange(len(x)), eot]


def test_packing_gives_the_values_and_gradients_of_padded_rows(tower: TextTransformer) -> None:
    ids, mask = tower.tokenize(["a red circle", "square", "", "a large blue square on a white sheet"])
    eot = mask.sum(1) - 1
    weights = [p for p in tower.parameters() if p.requires_grad]
    ours, _ = tower.encode(tower.embed(ids), mask)
    theirs = plain(tower, tower.embed(ids), eot)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    direction = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, weights, direction), torch.autograd.grad(theirs, weights, direction), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_the_feature_is_the_output_at_eot_and_tokens_have_one_length(tower: TextTransformer, words) -> None:
    found = tower.eval()(words("a red circle", "square"))
    assert found.tokens is not None and found.mask is not None
    assert found.tokens.shape == (2, 12, 16) and found.mask.shape == (2, 12)
    ends = found.mask.sum(1) - 1
    torch.testing.assert_close(found.pooled, found.tokens[torch.arange(2), ends])
    assert (found.tokens[~found.mask] == 0).all()


def test_later_tokens_are_not_seen_by_earlier_ones(tower: TextTransformer) -> None:
    ids, mask = tower.tokenize(["a red circle"])
    other = ids.clone()
    other[0, -2] = 5
    _, one = tower.eval().encode(tower.embed(ids), mask)
    _, two = tower.encode(tower.embed(other), mask)
    torch.testing.assert_close(one[0, :-2], two[0, :-2], rtol=0, atol=1e-12)
    assert (one[0, -2:] - two[0, -2:]).abs().min() > 1e-9


def test_dropout_is_active_for_the_role_local_in_training_only(tower: TextTransformer, words) -> None:
    def twice(role: str) -> bool:
        return torch.equal(*(tower(words("a red circle", role=role)).pooled for _ in range(2)))

    assert twice("global") and not twice("local")
    tower.eval()
    assert twice("local")


def test_stochastic_depth_leaves_out_whole_halves_of_a_block_text_by_text(captions, words) -> None:
    torch.manual_seed(0)
    made = TextTransformer(width=16, layers=1, heads=2, vocabulary=300, max_tokens=12, stochastic_depth=0.5)
    made.prepare(captions)
    made.double().norm = torch.nn.Identity()
    texts = ["a red circle", "square"] * 20
    block, (ids, mask) = made.blocks[0], made.tokenize(texts[:2])
    found = made(words(*texts, role="local")).pooled
    start = made.embed(ids) + made.position[: ids.shape[1]]
    kinds: list[set[int]] = [set(), set()]
    ways = []
    for attention in (0.0, 2.0):
        for network in (0.0, 2.0):
            scales = iter((attention, network))
            packing = _Packing(mask)
            packing.kept = lambda x, share, scales=scales: x * next(scales)  # type: ignore[method-assign]
            out = packing.padded(block(packing.packed(start), packing, 0.0, 0.5))
            ways.append(out[torch.arange(2), mask.sum(1) - 1])
    for number, row in enumerate(found):
        near = [way for way in range(4) if torch.allclose(ways[way][number % 2], row)]
        assert len(near) == 1, "each text has one of the four ways through the block, exactly"
        kinds[number % 2].update(near)
    assert kinds == [{0, 1, 2, 3}] * 2
    assert torch.equal(*(made(words(*texts)).pooled for _ in range(2)))
    made.eval()
    torch.testing.assert_close(made(words(*texts, role="local")).pooled, made(words(*texts)).pooled)


def test_layers_are_the_tokens_after_each_block(tower: TextTransformer, words) -> None:
    view = words("a red circle", "square")
    found = tower.eval().layers(view)
    mask = tower.tokenize(["a red circle", "square"]).mask
    assert [tuple(x.shape) for x in found] == [(*mask.shape, 16)] * 2
    last = tower(view).tokens
    assert last is not None
    torch.testing.assert_close(tower.norm(found[-1])[mask], last[:, : mask.shape[1]][mask])


def test_of_several_captions_the_first_is_read(tower: TextTransformer, words) -> None:
    from counterpoint_multimodal.data.captions import encode, pad

    both = View({"text": pad([encode(["a red circle", "circle in red"]), encode([])])}, "text")
    torch.testing.assert_close(tower.eval()(both).pooled, tower(words("a red circle", "")).pooled)


def test_the_vocabulary_is_of_the_train_split_and_is_kept(tower: TextTransformer, captions) -> None:
    before = tower.tokenizer.file.clone()
    tower.prepare(captions)
    assert torch.equal(tower.tokenizer.file, before)
    shorter = TextTransformer(width=16, vocabulary=300, max_tokens=12)
    shorter.prepare(type(captions)([*captions.captions[:-1], ["zzz zzz zzz zzz"]]))  # another test caption
    assert torch.equal(shorter.tokenizer.file, before)


def test_errors(tower: TextTransformer) -> None:
    for data in (None, torch.zeros(2, 3), {"text": torch.zeros(2, 3)}, {"text": torch.zeros(3, dtype=torch.uint8)}):
        with pytest.raises(ShapeError, match=r"view.data: found .*; allowed: \{'text': uint8 tensor \(B, L\)\}"):
            tower(View(data, "text"))
    with pytest.raises(ShapeError, match="embeds: found 13 tokens; allowed: at most max_tokens=12"):
        tower.encode(torch.zeros(1, 13, 16).double(), torch.ones(1, 13).bool())
    with pytest.raises(ConfigError, match="text_width: found 10; allowed: multiples of text_heads=4"):
        TextTransformer(width=10)
    with pytest.raises(ConfigError, match="text_dropout: found 1"):
        TextTransformer(dropout=1.0)
    with pytest.raises(ConfigError, match=r"text_stochastic_depth: found -0\.1; allowed: a share from 0, below 1"):
        TextTransformer(stochastic_depth=-0.1)
    with pytest.raises(ConfigError, match="vocabulary: found 258"):
        TextTransformer(vocabulary=258)
    with pytest.raises(ConfigError, match="text_layers: found 0"):
        TextTransformer(layers=0)
