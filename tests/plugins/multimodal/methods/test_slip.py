"""SLIP: CLIP and an image loss, each as it is alone; what the image loss keeps; any of the core's methods; refusals."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import pytest
import torch

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import BYOL, BarlowTwins, Pair, SimCLR, SimSiam
from counterpoint.types import Batch, Step, View
from counterpoint_multimodal.methods import SLIP
from counterpoint_multimodal.methods.slip import IMAGE_LOSSES, ImageTower
from tinytowers import FEATURES, TinyTowers, batch, views

pytestmark = pytest.mark.unit

OPTIONS: dict[str, dict[str, Any]] = {"moco": {"queue_size": 24}, "swav": {"prototypes": 8}}
PAPER = {"simclr": SimCLR, "simsiam": SimSiam, "byol": BYOL, "barlowtwins": BarlowTwins}


def made(name: str = "simclr", seed: int = 0, **options: Any) -> SLIP:
    torch.manual_seed(seed)
    return SLIP(TinyTowers(), image_loss=name, image_options=OPTIONS.get(name), **options)


def given(seed: int = 0) -> list[View]:
    return views(2, texts=0, seed=seed)


def train(method: SLIP, optimizer: torch.optim.Optimizer, number: int) -> Step:
    step: Step = method(given(number), batch())
    step.loss.backward()
    method.after_backward()
    optimizer.step()
    optimizer.zero_grad()
    method.after_step()
    return step


def test_image_losses_are_all_core_methods_that_need_no_particular_encoder() -> None:
    assert set(PAPER) < set(IMAGE_LOSSES)
    assert "pair" not in IMAGE_LOSSES


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_it_is_clip_on_weak_views_and_the_cores_method_on_strong_images(name: str, weight: float) -> None:
    method = made(name, weight=weight)
    step = method(given(), batch())
    pair = Pair(method.encoder, projector=torch.nn.Identity)
    contrast = pair(given()[:2], batch())
    images = [View(view.data, "image") for view in given()[2:]]
    alone = PAPER[name](ImageTower(method.encoder))
    alone.load_state_dict(method.image.state_dict())
    image = alone(images, batch())
    torch.testing.assert_close(step.loss, contrast.loss + weight * image.loss)
    known = image.chance is not None
    assert step.chance == (pytest.approx(contrast.chance + weight * image.chance) if known else None)
    torch.testing.assert_close(step.parts["image"], image.loss.detach())


@pytest.mark.parametrize("name", IMAGE_LOSSES)
def test_every_image_loss_trains_and_resumes_exactly(name: str) -> None:
    whole, again = made(name), made(name, seed=1)
    optimizers = [torch.optim.AdamW(method.parameter_groups(), lr=1e-2) for method in (whole, again)]
    for method in (whole, again):
        method.total_steps = 4
    steps = [train(whole, optimizers[0], number) for number in range(2)]
    saved = io.BytesIO()
    torch.save({"method": whole.state_dict(), "optimizer": optimizers[0].state_dict()}, saved)
    steps += [train(whole, optimizers[0], number) for number in (2, 3)]
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    again.load_state_dict(state["method"])
    optimizers[1].load_state_dict(state["optimizer"])
    for number in (2, 3):
        train(again, optimizers[1], number)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert all(torch.isfinite(step.loss) for step in steps)
    assert int(whole.steps) == int(whole.image.steps) == 4


def test_all_that_is_trained_gets_a_gradient_and_is_optimised_once() -> None:
    for name in PAPER:
        method = made(name)
        method(given(), batch()).loss.backward()
        trained = [p for p in method.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained)
        listed = [id(p) for group in method.parameter_groups() for p in group["params"]]
        assert sorted(listed) == sorted(map(id, trained))


def test_byols_twin_follows_the_tower_that_is_trained() -> None:
    method = made("byol", weight=2.0)
    before = method.image.twin.module["encoder"].encoder.trunks["image"][0].weight.clone()
    train(method, torch.optim.SGD(method.parameter_groups(), lr=0.5), 0)
    now = method.encoder.trunks["image"][0].weight.detach()
    followed = method.image.twin.module["encoder"].encoder.trunks["image"][0].weight
    torch.testing.assert_close(followed, before + 0.02 * (now - before))


def test_gradient_caching_reaches_the_image_loss() -> None:
    whole, parts = made().double(), made().double()
    parts.micro_batch = 2
    gradients = []
    for method in (whole, parts):
        seen = given()
        for view in seen:
            view.data = view.data.double()
        method(seen, batch()).loss.backward()
        gradients.append([p.grad for p in method.parameters()])
    assert parts.image.micro_batch == 2
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


def test_an_encoder_without_features_lends_its_pooled_encoding() -> None:
    class Plain(TinyTowers):
        def forward(self, view: View) -> Any:
            encoding = super().forward(view)
            encoding.features = None
            return encoding

    encoder = Plain()
    encoder.feature_dims = {}
    assert ImageTower(encoder).dim == encoder.dim
    assert torch.isfinite(SLIP(encoder)(given(), batch()).loss)
    assert ImageTower(TinyTowers()).dim == FEATURES["image"]


def test_an_image_loss_can_be_made_with_heads_of_its_own() -> None:
    method = SLIP(TinyTowers(), image_loss=partial(SimCLR, projector=torch.nn.Identity))
    assert isinstance(method.image.projector, torch.nn.Identity)
    assert torch.isfinite(method(given(), batch()).loss)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SLIP.image_loss: found 'barlow'; allowed: simclr, .*barlowtwins"):
        made("barlow")
    with pytest.raises(ConfigError, match=r"SLIP.image_options: found 'queue'; allowed: objective, projector"):
        SLIP(TinyTowers(), image_options={"queue": 3})
    with pytest.raises(ConfigError, match=r"SLIP.weight: found -1; allowed: a number of at least 0"):
        made(weight=-1)
    with pytest.raises(ShapeError, match=r"SLIP: images of role 'local': found 0; allowed: 2 or more. SLIPViews"):
        made()(views(2)[:2] + views(2)[4:], batch())
    blind = TinyTowers()
    blind.feature_dims = {"text": 6, "sound": 7}
    with pytest.raises(ConfigError, match=r"SLIP: modalities of the encoder: found text, sound; allowed: with 'image'"):
        SLIP(blind)
    assert isinstance(batch(), Batch)
