"""Prompt learners: what moves the context, and what must not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from counterpoint.errors import ConfigError
from counterpoint_multimodal.tasks.prompts.learners import CoCoOp, CoOp, GOPro
from counterpoint_multimodal.tasks.prompts.seen import Seen, statistics

pytestmark = pytest.mark.unit

START = torch.randn(3, 8, generator=torch.Generator().manual_seed(7))
WIDTHS = (5, 6, 7, 6)


def tokens(batch: int = 4, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 9, width, generator=generator) for width in WIDTHS]


def seen(layers: list[Tensor]) -> Seen:
    found = [statistics(one) for one in layers]
    feature = nn.functional.normalize(layers[0].mean(1)[:, :5], dim=1)
    return Seen(feature, [content for content, _ in found], [style for _, style in found])


def moved(**options: object) -> GOPro:
    """A learner whose rho and b are not zero any more."""
    torch.manual_seed(1)
    made = GOPro(START, 5, WIDTHS, **options)
    nn.init.normal_(made.rho.weight)
    nn.init.normal_(made.rho.bias)
    return made


def test_at_the_start_gopro_is_coop_for_every_image():
    contexts = GOPro(START, 5, WIDTHS)(seen(tokens()))
    assert contexts.shape == (4, 3, 8)
    assert torch.equal(contexts, CoOp(START, 5)(seen(tokens())).expand(4, 3, 8))


def test_all_tokens_of_an_image_move_alike_and_images_do_not():
    for learner in (moved(), CoCoOp(START, 5, reduction=1)):
        shift = learner(seen(tokens())) - START
        assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-6)
        assert not torch.allclose(shift[0], shift[1], atol=1e-3)


def test_the_order_of_tokens_does_not_matter():
    learner, layers = moved(), tokens()
    shuffled = [layer[:, torch.randperm(9)] for layer in layers]
    assert torch.allclose(learner(seen(layers)), learner(seen(shuffled)), atol=1e-6)


def test_layers_may_be_permuted_with_their_weights():
    learner, layers = moved(), tokens()
    order = [2, 0, 3, 1]
    other = GOPro(START, 5, [WIDTHS[at] for at in order])
    for mine, theirs in ((other.content, learner.content), (other.style, learner.style)):
        for at, place in enumerate(order):
            mine[at].load_state_dict(theirs[place].state_dict())
    other.rho.weight.data, other.rho.bias.data = learner.rho.weight.data[:, order], learner.rho.bias.data
    assert torch.allclose(other(seen([layers[at] for at in order])), learner(seen(layers)), atol=1e-6)


def test_shift_is_the_formula():
    learner, found = moved(), seen(tokens())
    wanted = learner.rho.bias.expand(4, 8).clone()
    for at, rho in enumerate(learner.rho.weight[0]):
        wanted += rho * (learner.content[at](found.content[at]) + learner.style[at](found.style[at])) / 2
    assert torch.allclose(learner.shift(found), wanted, atol=1e-6)


def test_constant_tokens_are_their_content_and_have_no_spread():
    constant = torch.randn(4, 1, 6)
    content, style = statistics(constant.expand(4, 9, 6))
    assert torch.allclose(content, constant[:, 0], atol=1e-6)
    assert torch.allclose(style, constant[:, 0] / 2, atol=1e-3)
    content, style = statistics(torch.tensor([[[0.0], [2.0]]]))
    assert content.item() == 1.0 and style.item() == pytest.approx(1.0)


def test_content_alone_does_not_see_the_spread():
    layers = tokens()
    wider = [(layer - layer.mean(1, keepdim=True)) * 3 + layer.mean(1, keepdim=True) for layer in layers]
    for options, same in (({"style": False}, True), ({"content": False}, False), ({}, False)):
        learner = moved(**options)
        assert torch.allclose(learner.shift(seen(layers)), learner.shift(seen(wider)), atol=1e-5) is same


def test_the_last_layer_alone():
    learner, layers = moved(depth="last"), tokens()
    others = [*tokens(seed=5)[:-1], layers[-1]]
    assert torch.allclose(learner.shift(seen(layers)), learner.shift(seen(others)), atol=1e-6)
    assert learner.rho.weight.shape == (1, 1)


def test_the_classifier_sees_the_projection_only_where_it_is_asked_to():
    found = seen(tokens())
    assert moved().image(found) is found.feature
    projected = moved(ce_on_projected=True)
    image = projected.image(found)
    assert torch.allclose(image.norm(dim=1), torch.ones(4), atol=1e-6)
    wanted = nn.functional.normalize(found.feature + projected.project(found), dim=1)
    assert torch.allclose(image, wanted, atol=1e-6)


def test_a_batch_of_views_is_taken_apart_in_order():
    whole = seen(tokens(6))
    parts = whole.split(3)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert torch.equal(torch.cat([part.feature for part in parts]), whole.feature)
    assert torch.equal(parts[1].style[3], whole.style[3][2:4])
    assert torch.equal(parts[2].content[0], whole.content[0][4:])


def test_errors():
    with pytest.raises(ConfigError, match="content, style: found neither; allowed: one of them"):
        GOPro(START, 5, WIDTHS, content=False, style=False)
    with pytest.raises(ConfigError, match='depth: found \'first\'; allowed: "all" or "last"'):
        GOPro(START, 5, WIDTHS, depth="first")
    with pytest.raises(ConfigError, match="encoder: found an image tower without layers"):
        GOPro(START, 5, [])
    with pytest.raises(ConfigError, match="reduction: found 0; allowed: a whole number of at least 1"):
        CoCoOp(START, 5, reduction=0)
