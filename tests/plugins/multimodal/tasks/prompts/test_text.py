"""Prompts of classes: their embedding, their encoding in chunks, and new names."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from counterpoint.errors import ConfigError
from counterpoint.types import View
from counterpoint_multimodal.data.captions import encode, pad
from counterpoint_multimodal.tasks.prompts.text import ClassPrompts

pytestmark = pytest.mark.unit
PHRASE = "a photo of a"


def test_the_phrase_itself_encodes_as_the_encoder_does(encoder, names):
    prompts = ClassPrompts(encoder, names, PHRASE)
    rows = pad([encode([f"{PHRASE} {name}."]) for name in names])
    wanted = F.normalize(encoder(View({"text": rows}, "text")).pooled, dim=1)
    assert prompts.start.shape == (4, 16)
    assert torch.allclose(prompts.encode(prompts.start[None])[0], wanted, atol=1e-5)


def test_chunks_change_neither_values_nor_gradients(encoder, names):
    context = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for chunk in (512, 5, 1):
        leaf = context.clone().requires_grad_()
        text = ClassPrompts(encoder, names, PHRASE, chunk).encode(leaf)
        (text * torch.linspace(-1, 1, text.numel()).view_as(text)).sum().backward()
        found.append((text.detach(), leaf.grad))
    for values, gradients in found[1:]:
        assert torch.allclose(values, found[0][0], atol=1e-5)
        assert torch.allclose(gradients, found[0][1], atol=1e-5)


def test_more_names_leave_the_old_ones_as_they_were(encoder, names):
    context = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    few = ClassPrompts(encoder, names, PHRASE).encode(context)
    more = ClassPrompts(encoder, [*names, "something with quite a long name", "violet"], PHRASE).encode(context)
    assert more.shape == (2, 6, 16)
    assert torch.allclose(more[:, :4], few, atol=1e-5)


def test_gradients_reach_the_context_and_nothing_else(encoder, names):
    context = torch.randn(1, 4, 16, requires_grad=True)
    ClassPrompts(encoder, names, PHRASE).encode(context)[..., 0].sum().backward()
    assert float(context.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_spaces_of_names_are_mended(encoder):
    assert ClassPrompts(encoder, [" red  square", "blue\nsquare"], PHRASE).names == ["red square", "blue square"]


@pytest.mark.parametrize(
    ("names", "phrase", "told"),
    [
        (["red"], PHRASE, "classes: found 1 names; allowed: two or more"),
        (["red", " "], PHRASE, "classes: found a blank name at position 1"),
        (["red", "blue", "red "], PHRASE, "classes: found 'red' twice"),
        (["red", "blue"], " ", "context: found ''; allowed: a phrase before the name"),
        (["red", "blue"], "a photo " * 40, "whose tokens change or do not fit before a class's name"),
    ],
)
def test_errors(encoder, names, phrase, told):
    with pytest.raises(ConfigError, match=told):
        ClassPrompts(encoder, names, phrase)
