"""CLIP-rocket's contrast: its limits, its formula written out, what it is symmetric in, its temperatures, refusals."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import Pair
from counterpoint.nn import MomentumTwin
from counterpoint.objectives import InfoNCE, NegativeCosine, Sigmoid, VICReg
from counterpoint.types import Step, View
from counterpoint_multimodal.methods import Rocket
from tinytowers import TinyTowers, batch, swapped, views

pytestmark = pytest.mark.unit

EXTRAS = ["barlip", "siamlip", "byolip", "swalip", "swalipv1"]


def made(local_heads: bool = True, seed: int = 0, **options: Any) -> Rocket:
    torch.manual_seed(seed)
    if options.get("extra") in ("barlip", "siamlip", "byolip", "swalipv1"):
        options["extra_options"] = {"hidden_dim": 8, "out_dim": 5} | options.get("extra_options", {})
    if options.get("extra") == "swalip":
        options["smoothing"] = 0.0
    return Rocket(TinyTowers(local_heads), **options).double()


def double(given: list[View]) -> list[View]:
    for view in given:
        view.data = view.data.double()
    return given


def take(method: Rocket, given: list[View], rows: int = 6) -> Step:
    step: Step = method(double(given), batch(rows))
    return step


def clip(first: Tensor, second: Tensor, temperature: float, smoothing: float = 0.0) -> Tensor:
    """CE_ls = (1 - a) CE + a mean_k(-log p_k), both directions."""
    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature
    right = torch.arange(len(first))
    return (
        F.cross_entropy(logits, right, label_smoothing=smoothing)
        + F.cross_entropy(logits.T, right, label_smoothing=smoothing)
    ) / 2


def embedded(method: Rocket, given: list[View]) -> dict[tuple[str, str], list[Tensor]]:
    found: dict[tuple[str, str], list[Tensor]] = {}
    for view in given:
        found.setdefault((view.modality, view.role), []).append(method.encoder(view).pooled)
    return found


def test_without_strong_views_it_is_clip() -> None:
    method = made(smoothing=0.3)
    pair = Pair(method.encoder, projector=torch.nn.Identity).double()
    given = double(views())
    step, wanted = method(given, batch()), pair(given, batch())
    torch.testing.assert_close(step.loss, wanted.loss, rtol=0, atol=1e-12)
    assert step.chance == wanted.chance == pytest.approx(math.log(6))


@pytest.mark.parametrize("strong", [1, 2, 3])
def test_alike_views_of_shared_heads_and_temperatures_without_smoothing_are_clip(strong: int) -> None:
    method = made(local_heads=False, local_objective=InfoNCE(0.07, learnable_temperature=True))
    step = take(method, views(strong, alike=True))
    assert float(step.loss.detach()) == pytest.approx(float(clip(*method.last_step.pair, 0.07)), abs=1e-6)
    assert float(step.parts["local"]) == pytest.approx(float(step.parts["global"]), abs=1e-6)


@pytest.mark.parametrize("strong", [1, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_formula_written_out(strong: int, reduction: str) -> None:
    method = made(smoothing=0.1, reduction=reduction)
    given = double(views(strong))
    step, z = method(given, batch()), embedded(method, given)
    weak = clip(z["image", "global"][0], z["text", "global"][0], 0.07)
    terms = [clip(h, g, 0.1, 0.1) for h in z["image", "local"] for g in z["text", "local"]]
    local = torch.stack(terms).mean()
    wanted = (weak + strong * local) / (1 + strong) * (2 if reduction == "sum" else 1)
    torch.testing.assert_close(step.loss, wanted)
    torch.testing.assert_close(step.parts["local"], local.detach())
    assert step.chance == pytest.approx(math.log(6) * (2 if reduction == "sum" else 1))


def test_strong_views_go_through_heads_and_a_temperature_of_their_own() -> None:
    method = made()
    take(method, views(2)).loss.backward()
    local = [p for name, p in method.named_parameters() if "local" in name]
    assert len(local) == 5  # weights and biases of two heads, and a temperature
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in local)
    method.zero_grad()
    take(method, views()).loss.backward()
    assert all(p.grad is None for p in local)


VARIANTS = [{}, *({"extra": extra} for extra in EXTRAS)]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: o.get("extra", "none"))
@pytest.mark.parametrize("strong", [0, 1, 2])
class TestEvery:
    def test_swapping_images_and_texts_changes_nothing(self, options: dict[str, Any], strong: int) -> None:
        method, given = made(**options), double(views(strong))
        torch.testing.assert_close(take(method, given).loss, take(method, swapped(given)).loss)

    def test_the_order_of_the_batch_changes_nothing(self, options: dict[str, Any], strong: int) -> None:
        method, given = made(**options), double(views(strong))
        turned = [View(view.data.flip(0), view.modality, view.role) for view in given]
        torch.testing.assert_close(take(method, given).loss, take(method, turned).loss)

    def test_all_that_is_trained_gets_a_gradient(self, options: dict[str, Any], strong: int) -> None:
        method = made(local_heads=strong > 0, **options)
        step = take(method, views(strong))
        step.loss.backward()
        idle = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
        assert idle == (set() if strong else {"local_objective.temperature.log_scale"})
        assert all(value.numel() == 1 and not value.requires_grad for value in step.parts.values())

    def test_gradient_caching_changes_no_gradient(self, options: dict[str, Any], strong: int) -> None:
        whole, given = made(**options), double(views(strong))
        parts = copy.deepcopy(whole)
        parts.micro_batch = 2
        for method in (whole, parts):
            take(method, given).loss.backward()
        for (name, a), b in zip(whole.named_parameters(), parts.parameters()):
            if a.grad is not None:
                torch.testing.assert_close(a.grad, b.grad, msg=lambda m, name=name: f"{name}: {m}")


def test_temperatures_stay_between_a_hundredth_and_one() -> None:
    method = made()
    scales = [method.objective.temperature.log_scale, method.local_objective.temperature.log_scale]
    for start, wanted in ((-1.0, 0.0), (5.0, math.log(100)), (2.0, 2.0)):
        for scale in scales:
            scale.data.fill_(start)
        take(method, views(1)).loss.backward()
        method.after_step()
        assert [scale.item() for scale in scales] == pytest.approx([wanted] * 2)


def test_samples_of_one_content_are_not_told_apart() -> None:
    method, given = made(smoothing=0.0), double(views(1))
    apart = method(given, batch()).loss
    same = method(given, batch(content=torch.tensor([0, 0, 1, 2, 3, 4]))).loss
    assert float(same) < float(apart) - 1e-3


def test_any_objective_of_embeddings_takes_part() -> None:
    step = take(made(objective=Sigmoid(), local_objective=Sigmoid(), extra="barlip"), views(2))
    assert torch.isfinite(step.loss)
    assert step.chance is not None


def refused(error: type[Exception], match: str, action: Callable[[], object]) -> None:
    with pytest.raises(error, match=match):
        action()


def test_what_is_refused() -> None:
    refused(ConfigError, r"Rocket.extra: found 'barlap'; allowed: barlip, .*[Bb]arlip", lambda: made(extra="barlap"))
    refused(ConfigError, r"Rocket.reduction: found 'max'; allowed: mean, sum", lambda: made(reduction="max"))
    refused(ConfigError, r"Rocket.weight: found -1; allowed: a number of at least 0", lambda: made(weight=-1))
    refused(ConfigError, r"objective: found NegativeCosine", lambda: made(local_objective=NegativeCosine()))
    options = {"extra": "barlip", "extra_options": {"out": 3}}
    refused(
        ConfigError, r"extra_options: found 'out'; allowed: redundancy, hidden_dim, out_dim", lambda: made(**options)
    )
    refused(
        ConfigError,
        r"Rocket.smoothing: found 0.1; allowed: 0 beside 'swalip'",
        lambda: Rocket(TinyTowers(), extra="swalip"),
    )
    refused(
        ConfigError,
        r"Rocket: objective: found VICReg; allowed: objectives with a temperature beside 'swalip'",
        lambda: made(extra="swalip", local_objective=VICReg()),
    )
    for given in (views(2, texts=1), views(1)[::-1], views(1)[2:]):
        refused(
            ShapeError,
            r"Rocket: roles of the views: .*allowed: of each a global \(weak\) one",
            lambda given=given: take(made(), given),
        )
    refused(ShapeError, r"Rocket: modalities of the views: found image", lambda: take(made(), views(1)[::2]))
    assert isinstance(made(extra="byolip").extra.twin, MomentumTwin)
