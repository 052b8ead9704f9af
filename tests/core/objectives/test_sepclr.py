"""SepCLR: against the plain formula, term by term; what moves the background's codes; limits; what it learns."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import SepCLR, sepclr_loss
from counterpoint.objectives.density import alignment, joint_entropy, uniformity
from counterpoint.objectives.sepclr import null_code
from learners import digits, disturb

pytestmark = pytest.mark.unit

BACKGROUND = torch.tensor([True, False, False, True, False, False, True])
WEIGHTS = {"salient_weight": 3.0, "null_weight": 5.0, "entropy_weight": 2.0}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def views(count: int = 2, rows: int = 7) -> tuple[list[Tensor], list[Tensor]]:
    common = [draw(rows, 4, seed=n) for n in range(count)]
    return common, [0.7 * draw(rows, 3, seed=10 + n) for n in range(count)]


def square(a: Tensor, b: Tensor) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def log_mean_pairs(codes: Tensor, t: float) -> float:
    pairs = list(itertools.permutations(range(len(codes)), 2))
    return math.log(sum(math.exp(-t * square(codes[i], codes[j])) for i, j in pairs) / len(pairs))


def plain(common: list[Tensor], salient: list[Tensor], background: Tensor, t: float) -> tuple[float, ...]:
    """The four terms of two views, written as the method's description writes them."""
    rows, c = range(len(background)), [normalize(view, dim=1) for view in common]
    nulled = [view * ~background[:, None] for view in salient]
    targets, others = ([i for i in rows if bool(background[i]) is kind] for kind in (False, True))
    shared = t * sum(square(c[0][i], c[1][i]) for i in rows) / len(rows)
    together = t * sum(square(salient[0][i], salient[1][i]) for i in targets) / len(targets)
    null = t * sum(square(view[i], 0 * view[i]) for view in salient for i in others) / len(others) / 2
    joint = 0.0
    for a, n in zip(c, nulled, strict=True):
        shared, together = shared + log_mean_pairs(a, t), together + log_mean_pairs(n, t)
        kernels = [[math.exp(-t * (square(a[i], a[j]) + square(n[i], n[j]))) for j in rows] for i in rows]
        joint += sum(math.log(sum(row) / len(rows)) for row in kernels) / len(rows) / 2
    return shared, together, null, joint


@pytest.mark.parametrize("t", [1.0, 0.4])
def test_equals_the_plain_formula_term_by_term(t: float) -> None:
    common, salient = views()
    shared, together, null, joint = plain(common, salient, BACKGROUND, t)
    result = SepCLR(**WEIGHTS, t=t)(common, salient, BACKGROUND)
    expected = {"common": shared, "salient": together, "null": null, "joint_entropy": -joint}
    for name, value in expected.items():
        assert float(result.parts[name]) == pytest.approx(value, rel=1e-12), name
    assert float(result.loss) == pytest.approx(shared + 3 * together + 5 * null + 2 * joint, rel=1e-12)


def test_the_parts_tell_how_long_the_salient_codes_are() -> None:
    common, salient = views()
    parts = sepclr_loss(common, salient, BACKGROUND).parts
    lengths = (salient[0].norm(dim=1) + salient[1].norm(dim=1)) / 2
    assert float(parts["background_norm"]) == pytest.approx(float(lengths[BACKGROUND].mean()))
    assert float(parts["target_norm"]) == pytest.approx(float(lengths[~BACKGROUND].mean()))


def test_more_views_are_means_over_pairs_and_over_views() -> None:
    common, salient = views(3)
    result = sepclr_loss(common, salient, BACKGROUND)
    c = [normalize(view, dim=1) for view in common]
    pairs = [alignment(a, b) for a, b in itertools.combinations(c, 2)]
    expected = torch.stack(pairs).mean() + 2 * torch.stack([uniformity(view, 1.0) for view in c]).mean()
    torch.testing.assert_close(result.parts["common"], expected)


def test_the_common_term_is_wang_and_isolas() -> None:
    common, salient = views()
    cosine = [normalize(view, dim=1) @ normalize(view, dim=1).T for view in common]
    off = ~torch.eye(7, dtype=torch.bool)
    spread = sum((2 * c[off] - 2).exp().mean().log() for c in cosine)
    aligned = 2 - 2 * (normalize(common[0], dim=1) * normalize(common[1], dim=1)).sum(1).mean()
    torch.testing.assert_close(sepclr_loss(common, salient, BACKGROUND).parts["common"], aligned + spread)


def gradient(term: str, salient: list[Tensor], common: list[Tensor]) -> list[Tensor]:
    weights = {"salient_weight": 0.0, "null_weight": 0.0, "entropy_weight": 0.0, f"{term}_weight": 2.0}
    leaves = [view.clone().requires_grad_() for view in salient]
    return list(torch.autograd.grad(sepclr_loss(common, leaves, BACKGROUND, **weights).loss, leaves))


@pytest.mark.parametrize("term", ["salient", "entropy"])
def test_only_the_null_term_moves_the_background(term: str) -> None:
    common, salient = views()
    for moved in gradient(term, salient, common):
        assert torch.equal(moved[BACKGROUND], torch.zeros_like(moved[BACKGROUND]))
        assert (moved[~BACKGROUND].abs().sum(1) > 0).all()


def test_the_null_term_pulls_the_background_to_zero_and_nothing_else() -> None:
    common, salient = views()
    for moved, codes in zip(gradient("null", salient, common), salient, strict=True):
        torch.testing.assert_close(moved[BACKGROUND], 2 * codes[BACKGROUND] / 3)  # weight * 2 s / count / views
        assert torch.equal(moved[~BACKGROUND], torch.zeros_like(moved[~BACKGROUND]))


def test_targets_are_pushed_from_zero() -> None:
    common, _ = views()
    near = torch.zeros(7, 2, dtype=torch.float64)
    near[1] = torch.tensor([0.1, 0.0])
    moved = gradient("salient", [near, near], common)[0]
    assert moved[1, 0] < 0  # downhill is away from where all others are


def test_background_pairs_are_a_floor_of_the_salient_term() -> None:
    common, salient = views()
    far = [1e3 * view for view in salient]
    spread = sepclr_loss(common, [far[0], far[0]], BACKGROUND).parts["salient"]
    assert float(spread) == pytest.approx(2 * math.log(3 * 2 / (7 * 6)))


def test_a_batch_of_targets_has_no_null_term_and_one_of_background_no_alignment() -> None:
    common, salient = views()
    targets = sepclr_loss(common, salient, torch.zeros(7, dtype=torch.bool))
    assert float(targets.parts["null"]) == 0
    expected = alignment(*salient) + uniformity(salient[0], 1.0) + uniformity(salient[1], 1.0)
    torch.testing.assert_close(targets.parts["salient"], expected)
    assert "background_norm" not in targets.parts
    background = sepclr_loss(common, salient, torch.ones(7, dtype=torch.bool))
    assert float(background.parts["salient"]) == pytest.approx(0, abs=1e-12)
    assert background.loss.isfinite()


def test_null_codes() -> None:
    codes = draw(7, 3)
    assert torch.equal(null_code(codes, BACKGROUND), codes * ~BACKGROUND[:, None])
    infinite = torch.full((7, 3), math.inf)
    assert torch.equal(null_code(infinite, BACKGROUND)[BACKGROUND], torch.zeros(3, 3))


def test_gradient() -> None:
    common, salient = views()
    leaves = [view.requires_grad_() for view in (*common, *salient)]
    ids = torch.tensor([1, 2, 1, 3, 4, 5, 6])
    assert torch.autograd.gradcheck(lambda a, b, c, d: sepclr_loss([a, b], [c, d], BACKGROUND, ids).loss, leaves)


def test_duplicates_do_not_push_each_other() -> None:
    common, salient = views()
    ids = torch.tensor([1, 2, 1, 3, 4, 2, 5])
    result, c = sepclr_loss(common, salient, BACKGROUND, ids), [normalize(view, dim=1) for view in common]
    expected = alignment(*c) + uniformity(c[0], 1.0, ids) + uniformity(c[1], 1.0, ids)
    torch.testing.assert_close(result.parts["common"], expected)
    nulled = [null_code(view, BACKGROUND) for view in salient]
    entropy = [joint_entropy([a, n], 1.0, ids) for a, n in zip(c, nulled, strict=True)]
    torch.testing.assert_close(result.parts["joint_entropy"], torch.stack(entropy).mean())


def test_zero_rows_have_a_finite_gradient() -> None:
    zeros = [torch.zeros(7, 3, requires_grad=True) for _ in range(4)]
    result = sepclr_loss(zeros[:2], zeros[2:], BACKGROUND)
    result.loss.backward()
    assert float(result.loss.detach()) == pytest.approx(0, abs=1e-3)
    assert all(view.grad.isfinite().all() for view in zeros)


def test_half_precision_is_computed_in_float32_also_under_autocast() -> None:
    common, salient = views()
    half = [[view.bfloat16() for view in space] for space in (common, salient)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sepclr_loss(*half, BACKGROUND, **WEIGHTS).loss
    exact = sepclr_loss(*[[view.double() for view in space] for space in half], BACKGROUND, **WEIGHTS).loss
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=1e-4)


def test_a_nan_row_is_named() -> None:
    common, salient = views()
    salient[1][4, 0] = math.nan
    with pytest.raises(ShapeError, match=r"salient\[1\]: found NaN or infinity in 1 row\(s\): 4"):
        sepclr_loss(common, salient, BACKGROUND)


def test_what_is_refused() -> None:
    common, salient = views()
    with pytest.raises(ShapeError, match=r"background: found torch.int64 \(7,\); allowed: bool \(7,\), True for"):
        sepclr_loss(common, salient, BACKGROUND.long())
    with pytest.raises(ShapeError, match=r"salient: found 2 view\(s\) of 5 rows; allowed: 2 of 7, as in common"):
        sepclr_loss(common, [view[:5] for view in salient], BACKGROUND)
    with pytest.raises(ShapeError, match=r"common: found 1 view\(s\); allowed: 2 or more"):
        sepclr_loss(common[:1], salient, BACKGROUND)
    with pytest.raises(ShapeError, match=r"ids: found torch.float64 \(7,\)"):
        sepclr_loss(common, salient, BACKGROUND, draw(7))
    with pytest.raises(ConfigError, match=r"entropy_weight: found -1; allowed: a number of at least 0"):
        SepCLR(entropy_weight=-1)
    with pytest.raises(ConfigError, match=r"t: found 0; allowed: a number above 0"):
        SepCLR(t=0)


def test_the_reduction_is_declared_and_there_is_no_chance_level() -> None:
    assert SepCLR.reduction == "gather"
    assert SepCLR().chance(256) is None


def overlays(generator: torch.Generator, rows: int = 128) -> tuple[list[Tensor], Tensor, Tensor]:
    """Two views of digits (what both have) with, for every other one, one of two marks in a corner (the targets')."""
    images, _ = digits()
    index = torch.randperm(1280, generator=generator)[:rows]
    mark = torch.randint(0, 2, (rows,), generator=generator)
    background = torch.arange(rows) % 2 == 0
    marked = torch.zeros(rows, 2, 4)
    marked[~background] = nn.functional.one_hot(mark[~background], 2)[:, :, None] * 2.0
    made = [disturb(images[index], generator) for _ in range(2)]
    return [torch.cat([view, marked.flatten(1)], dim=1) for view in made], background, mark


def test_marks_of_the_targets_go_to_the_salient_code_on_real_digits() -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(72, 64), nn.ReLU(), nn.Linear(64, 8)) for _ in range(2)]
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], lr=1e-2)
    objective, losses = SepCLR(salient_weight=10, null_weight=10), []
    for step in range(80):
        made, background, _ = overlays(torch.Generator().manual_seed(step))
        result = objective([nets[0](view) for view in made], [nets[1](view) for view in made], background)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(float(result.loss.detach()))
    assert losses[-1] < losses[0] - 5
    made, background, mark = overlays(torch.Generator().manual_seed(1000))
    with torch.no_grad():
        codes = nets[1](made[0])
    lengths = codes.norm(dim=1)
    assert lengths[background].mean() < 0.3 * lengths[~background].mean()
    targets, of = codes[~background], mark[~background]
    centres = torch.stack([targets[of == k].mean(0) for k in range(2)])
    assert (torch.cdist(targets, centres).argmin(1) == of).float().mean() > 0.8
