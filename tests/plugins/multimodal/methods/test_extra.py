"""BarLIP, SiamLIP, BYOLIP and SwALIP: limits, formulas written out, where gradients stop, what the copy follows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError
from counterpoint.objectives import BarlowTwins, InfoNCE, sinkhorn
from counterpoint_multimodal.methods import BYOLIP, BarLIP, Rocket, SiamLIP, SwALIP, SwALIPV1
from counterpoint_multimodal.methods.extra import Extra, Seen
from tinytowers import FEATURES, TinyTowers, batch, views

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def seen(features: tuple[list[Tensor], list[Tensor]]) -> Seen:
    return Seen(("image", "text"), features, features, InfoNCE(0.1), lambda encoder: features)


def rows(strong: int, size: int = 8, dims: tuple[int, int] | None = None, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    widths = dims or tuple(FEATURES.values())
    return tuple(
        [torch.randn(size, dim, dtype=torch.float64, generator=generator) for _ in range(1 + strong)] for dim in widths
    )


def made(cls: type[Extra], **options: Any) -> Any:
    torch.manual_seed(0)
    return cls(TinyTowers(), **options).double()


def unheaded(extra: Any) -> Any:
    """Without heads, so that the formula is seen alone."""
    for name in FEATURES:
        extra.projectors[name] = torch.nn.Identity()
    return extra


def white(size: int, dim: int) -> Tensor:
    """Columns of mean 0, variance 1, and correlation 0 with each other."""
    centred = torch.randn(size, dim, dtype=torch.float64)
    return torch.linalg.qr(centred - centred.mean(0)).Q * size**0.5


def test_barlip_is_0_where_the_correlation_is_the_identity_and_its_dimension_where_it_is_nothing() -> None:
    extra = unheaded(made(BarLIP))
    same = white(32, 6)
    assert float(extra(seen(([same], [same]))).loss) == pytest.approx(0, abs=1e-6)
    both = white(32, 12)
    nothing = extra(seen(([both[:, :6]], [both[:, 6:]])))
    assert float(nothing.loss) == pytest.approx(6) == extra.chance(32)
    assert extra.weight * extra.chance(32) == pytest.approx(0.025 * 6)
    assert float(extra(seen(([same], [same.roll(1, 1)]))).loss) > 6


def test_barlip_is_the_cores_barlow_twins_over_weak_and_over_strong_pairs() -> None:
    extra, (a, b) = unheaded(made(BarLIP)), rows(2, dims=(6, 6))
    pairs = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    wanted = torch.stack([BarlowTwins(0.005)((a[i], b[j])).loss for i, j in pairs]).mean()
    torch.testing.assert_close(extra(seen((a, b))).loss, wanted)


def test_barlips_formula_with_the_last_batch_norm_of_the_paper() -> None:
    extra, (a, b) = made(BarLIP, hidden_dim=8, out_dim=5), rows(0)
    first, second = (extra.projectors[name](side[0]) for name, side in zip(FEATURES, (a, b)))
    norm = torch.nn.BatchNorm1d(5, affine=False).double()
    c = norm(first).T @ norm(second) / len(first)
    off = c - torch.diag(c.diag())
    wanted = (1 - c.diag()).square().sum() + 0.005 * off.square().sum()
    torch.testing.assert_close(extra(seen((a, b))).loss, wanted)


def cosine_distance(p: Tensor, v: Tensor) -> Tensor:
    return 2 - 2 * F.cosine_similarity(p, v.detach()).mean()


def test_siamlip_is_the_mean_of_ten_distances() -> None:
    extra, (a, b) = made(SiamLIP, hidden_dim=8, out_dim=5), rows(2)
    va, vb = ([extra.projectors[name](x) for x in side] for name, side in zip(FEATURES, (a, b)))
    pa, pb = ([extra.predictors[name](v) for v in side] for name, side in zip(FEATURES, (va, vb)))
    pairs = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    terms = [cosine_distance(pa[i], vb[j]) for i, j in pairs] + [cosine_distance(pb[j], va[i]) for i, j in pairs]
    assert len(terms) == 10
    loss = extra(seen((a, b))).loss
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    assert 0 <= float(loss.detach()) <= 4


@pytest.mark.parametrize(("sign", "wanted"), [(1, 0), (-1, 4)])
def test_siamlip_is_0_where_the_prediction_is_the_target_and_4_where_it_is_its_opposite(sign: int, wanted: int) -> None:
    extra = unheaded(made(SiamLIP))
    for name in FEATURES:
        extra.predictors[name] = torch.nn.Identity()
    a = torch.randn(6, 5)
    assert float(extra(seen(([a], [sign * a]))).loss) == pytest.approx(wanted, abs=1e-6)


def test_siamlips_target_takes_no_gradient() -> None:
    extra = made(SiamLIP, hidden_dim=8, out_dim=5)
    extra.predictors["text"] = torch.nn.Identity()
    extra.targets = lambda seen, projected: (projected[0], [targets])
    targets = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    extra(seen(rows(0))).loss.backward()
    assert targets.grad is None or not targets.grad.any()
    assert extra.projectors["image"].layers[0].weight.grad.abs().sum() > 0


def rocket(**options: Any) -> Rocket:
    torch.manual_seed(0)
    shape = {"hidden_dim": 8, "out_dim": 5} | options
    return Rocket(TinyTowers(local_heads=True, norm=True), extra="byolip", smoothing=0.0, extra_options=shape)


def test_byolips_target_is_a_copy_at_first_and_takes_no_gradient() -> None:
    method = rocket()
    step = method(views(1), batch())
    siam = Rocket(method.encoder, extra="siamlip", smoothing=0.0, extra_options={"hidden_dim": 8, "out_dim": 5})
    siam.extra.load_state_dict({k: v for k, v in method.extra.state_dict().items() if not k.startswith("twin.")})
    torch.testing.assert_close(step.parts["extra"], siam(views(1), batch()).parts["extra"])
    step.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.extra.twin.parameters())
    assert not [p for group in method.parameter_groups() for p in group["params"] if not p.requires_grad]


@pytest.mark.parametrize(("momentum", "share"), [(0.0, 1.0), (1.0, 0.0), (0.75, 0.25)])
def test_byolips_copy_follows_encoder_and_projectors(momentum: float, share: float) -> None:
    method = rocket(momentum=momentum)
    twin = method.extra.twin.module
    before = [p.clone() for p in twin.parameters()]
    optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.5)
    method(views(1), batch()).loss.backward()
    optimizer.step()
    method.after_step()
    online = [*method.encoder.parameters(), *method.extra.projectors.parameters()]
    assert len(online) == len(before)
    for old, new, followed in zip(before, online, twin.parameters()):
        torch.testing.assert_close(followed, old + share * (new.detach() - old))
    assert twin.training


def test_swalip_is_the_swapped_cross_entropy_written_out() -> None:
    extra, (a, b) = made(SwALIP), rows(2, dims=(6, 6))

    def direction(rows: list[Tensor], others: list[Tensor]) -> Tensor:
        terms = []
        for i in range(2):
            for j in range(2):
                code = sinkhorn(rows[1 - i] @ others[1 - j].T, 0.05, 3)
                terms.append(-(code * (rows[i] @ others[j].T / 0.1).log_softmax(1)).sum(1).mean())
        return torch.stack(terms).mean()

    first, second = ([F.normalize(x, dim=1) for x in side[1:]] for side in (a, b))
    wanted = (direction(first, second) + direction(second, first)) / 2
    found = extra(seen((a, b)))
    torch.testing.assert_close(found.loss, wanted)
    assert 1 <= float(found.parts["code_perplexity"]) <= 8
    assert extra.chance(8) == pytest.approx(float(torch.tensor(8.0).log()))


@pytest.mark.parametrize("strong", [1, 2])
def test_swalip_with_codes_that_are_the_identity_is_the_contrast_of_strong_views(strong: int) -> None:
    extra = made(SwALIP, epsilon=1e-3, iterations=50)
    base = torch.eye(8, 9, dtype=torch.float64)
    a = [torch.randn(8, 9)] + [base + 0.05 * torch.randn(8, 9) for _ in range(strong)]
    b = [torch.randn(8, 9)] + [base + 0.05 * torch.randn(8, 9) for _ in range(strong)]
    wanted = []
    for x in a[1:]:
        for y in b[1:]:
            logits = F.normalize(x, dim=1) @ F.normalize(y, dim=1).T / 0.1
            right = torch.arange(8)
            wanted.append((F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2)
    torch.testing.assert_close(
        extra(seen((a, b))).loss, torch.stack(wanted).mean(), check_dtype=False, rtol=1e-4, atol=1e-5
    )


def test_swalipv1_foresees_the_code_of_the_other_modality_of_ten_pairs() -> None:
    extra, (a, b) = made(SwALIPV1, hidden_dim=8, out_dim=5, prototypes=6), rows(2)
    weight = extra.prototypes.weight.detach()
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)
    first, second = (
        [F.normalize(extra.projectors[name](x), dim=1) @ F.normalize(weight, dim=1).T for x in side]
        for name, side in zip(FEATURES, (a, b))
    )
    terms = []
    for i, j in [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]:
        for code, seer in ((first[i], second[j]), (second[j], first[i])):
            terms.append(-(sinkhorn(code, 0.05, 3) * (seer / 0.1).log_softmax(1)).sum(1).mean())
    assert len(terms) == 10
    torch.testing.assert_close(extra(seen((a, b))).loss, torch.stack(terms).mean())
    assert extra.chance(8) == pytest.approx(float(torch.tensor(6.0).log()))


def test_swalipv1_is_the_same_from_either_side() -> None:
    extra, (a, b) = made(SwALIPV1, hidden_dim=8, out_dim=5, prototypes=6), rows(1)
    there = Seen(("image", "text"), (a, b), (a, b), InfoNCE(0.1), lambda encoder: (a, b))
    back = Seen(("text", "image"), (b, a), (b, a), InfoNCE(0.1), lambda encoder: (b, a))
    torch.testing.assert_close(extra(there).loss, extra(back).loss)


def test_swalipv1s_prototypes_stand_still_at_first_and_stay_of_length_1() -> None:
    options = {"hidden_dim": 8, "out_dim": 5, "prototypes": 6, "freeze_share": 0.5}
    method = Rocket(TinyTowers(local_heads=True), extra="swalipv1", extra_options=options)
    method.total_steps = 4
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=0.05, weight_decay=0.5)
    moved = []
    for _ in range(4):
        before = method.extra.prototypes.weight.detach().clone()
        method(views(1), batch()).loss.backward()
        method.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        moved.append(not torch.allclose(method.extra.prototypes.weight, before, atol=1e-6))
    assert moved == [False, False, True, True]
    method(views(1), batch())
    torch.testing.assert_close(method.extra.prototypes.weight.norm(dim=1), torch.ones(6))
    with pytest.raises(ConfigError, match=r"SwALIPV1.freeze_share: found 2; allowed: a share from 0 to 1"):
        SwALIPV1(TinyTowers(), freeze_share=2)


HEADED = [BarLIP, SiamLIP, BYOLIP, SwALIPV1]


@pytest.mark.parametrize("cls", HEADED)
def test_separate_heads_that_are_equal_are_one_head(cls: type[Extra]) -> None:
    one, two = (made(cls, hidden_dim=8, out_dim=5, separate_heads=separate) for separate in (False, True))
    state = two.state_dict()
    for name, value in one.state_dict().items():
        state[name] = value
        strong = [name.replace(f".{modality}.", f".{modality}_strong.") for modality in FEATURES]
        state |= {other: value for other in strong if other in state}
    two.load_state_dict(state)
    both = rows(2)
    torch.testing.assert_close(two(seen(both)).loss, one(seen(both)).loss)


@pytest.mark.parametrize("cls", HEADED)
def test_of_separate_heads_each_sees_its_own_views(cls: type[Extra]) -> None:
    extra, (a, b) = made(cls, hidden_dim=8, out_dim=5, separate_heads=True), rows(1)
    calls: dict[str, list[Tensor]] = {}
    for name, head in extra.projectors.items():
        head.register_forward_pre_hook(lambda _, inputs, name=name: calls.setdefault(name, []).append(inputs[0]))
    extra(seen((a, b))).loss.backward()
    assert {name: len(told) for name, told in calls.items()} == dict.fromkeys(
        ("image", "text", "image_strong", "text_strong"), 1
    )
    assert calls["image"][0] is a[0] and calls["image_strong"][0] is a[1] and calls["text_strong"][0] is b[1]
    trained = [p for name, p in extra.named_parameters() if not name.startswith("twin.")]
    assert all(p.grad is not None for p in trained)


def test_swalip_has_no_heads_to_separate() -> None:
    with pytest.raises(ConfigError, match=r"extra_options: found 'separate_heads'; allowed: epsilon, iterations"):
        Rocket(TinyTowers(), extra="swalip", smoothing=0.0, extra_options={"separate_heads": True})


def test_codes_sum_to_1_a_sample_and_are_balanced_over_the_batch_as_iterations_grow() -> None:
    scores = F.normalize(torch.randn(16, 6, dtype=torch.float64), dim=1)
    scores = scores @ F.normalize(torch.randn(16, 6, dtype=torch.float64), dim=1).T
    few, many = sinkhorn(scores, 0.05, 3), sinkhorn(scores, 0.05, 2000)
    for codes in (few, many):
        torch.testing.assert_close(codes.sum(1), torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (many.sum(0) - 1).abs().max() < 1e-3 < (few.sum(0) - 1).abs().max()
    torch.testing.assert_close(sinkhorn(torch.zeros(16, 16)), torch.full((16, 16), 1 / 16))


def test_without_strong_views_the_weak_pair_is_compared() -> None:
    for cls in (BarLIP, SiamLIP, BYOLIP, SwALIP, SwALIPV1):
        weak = rows(0, dims=tuple(FEATURES.values()) if cls is not SwALIP else (6, 6))
        assert torch.isfinite(made(cls)(seen(weak)).loss)
