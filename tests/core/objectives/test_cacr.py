"""Contrastive attraction and repulsion: the formula in float64, its slopes, its limits and its neighbours."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from torch import Tensor

from counterpoint import methods
from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import CACR, InfoNCE, _tiles, cacr_loss, info_nce_loss
from learners import Net, Training, knn

pytestmark = pytest.mark.unit

IDS = torch.tensor([4, 1, 4, 2, 9])
QUEUE_IDS = torch.tensor([4, 7, 8, 2])
COSTS = ("euclidean", "rbf", "info_nce")
FORMS = [(cost, detach) for cost in COSTS for detach in (True, False)]


def draw(views: int, size: int = 5, width: int = 4) -> list[Tensor]:
    rows = torch.randn(views + 1, size, width, generator=torch.Generator().manual_seed(views), dtype=torch.float64)
    return [(row + rows[0]).requires_grad_() for row in rows[1:]]


def queue(width: int = 4) -> Tensor:
    return torch.randn(4, width, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def apart(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum()


def dense(
    views: list[Tensor],
    cost: str = "euclidean",
    detach: bool = True,
    ids: Tensor | None = None,
    rows: Tensor | None = None,
    row_ids: Tensor = QUEUE_IDS,
    *,
    t_pos: float = 1.0,
    t_neg: float = 2.0,
    debias: float = 0.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    symmetric: bool = True,
    in_batch: bool = True,
) -> Tensor:
    """Row by row, with squared norms of differences."""
    z, size = [unit(view) for view in views], len(views[0])
    own = torch.arange(size) if ids is None else ids
    anchors = range(len(z)) if symmetric else range(1)
    pairs = [(a, b) for a in anchors for b in range(len(z)) if a != b]

    def plan(logits: Tensor) -> Tensor:
        return (logits.detach() if detach else logits).softmax(0)

    def negatives(a: int, b: int, i: int) -> Tensor:
        found = [apart(z[a][i], z[b][j]) for j in range(size) if own[j] != own[i]] if in_batch else []
        if rows is not None:
            known = torch.full((len(rows),), -1) if ids is None else row_ids
            found += [apart(z[a][i], n) for n, k in zip(unit(rows), known) if k != own[i]]
        return torch.stack(found)

    def positive(a: int, b: int, i: int) -> Tensor:
        return apart(z[a][i], z[b][i])

    terms = []
    if cost == "info_nce":
        for b, i in itertools.product(sorted({b for _, b in pairs}), range(size)):
            these = [a for a, other in pairs if other == b]
            near = torch.stack([positive(a, b, i) for a in these])
            logs = [torch.cat([positive(a, b, i)[None], negatives(a, b, i)]) for a in these]
            soft = torch.stack([torch.logsumexp(-t_neg * d, 0) for d in logs]) / t_neg
            terms.append((plan(t_pos * near) * (alpha * near + beta * soft)).sum())
        return torch.stack(terms).mean()
    for a, i in itertools.product(anchors, range(size)):
        near = torch.stack([positive(a, b, i) for b in range(len(z)) if b != a])
        terms.append((plan(t_pos * near) * near).sum())
    attraction = torch.stack(terms).mean()
    costs = []
    for a, b in pairs:
        row = []
        for i in range(size):
            d = negatives(a, b, i)
            q = plan(-t_neg * d)
            if cost == "rbf":
                row.append((q * torch.exp(-2.0 * d)).sum())
            else:
                row.append(((q * d).sum() - debias * positive(a, b, i)) / (1 - debias))
        costs.append(torch.stack(row).mean().log() if cost == "rbf" else -torch.stack(row).mean())
    return alpha * attraction + beta * torch.stack(costs).mean()


def agree(ours: Tensor, theirs: Tensor, views: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    for mine, expected in zip(torch.autograd.grad(ours, views), torch.autograd.grad(theirs, views)):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize(("cost", "detach"), FORMS)
def test_value_and_gradient_are_the_formula(
    cost: str, detach: bool, views: int, queued: bool, tiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tiled:
        monkeypatch.setattr(_tiles, "WHOLE", 0)
        monkeypatch.setattr(_tiles, "CPU_TILE", 2)
    z, rows, ids = draw(views), queue() if queued else None, IDS if queued else None
    ours = cacr_loss(z, ids, rows, QUEUE_IDS if queued else None, cost=cost, detach_weights=detach).loss
    agree(ours, dense(z, cost, detach, ids, rows), z)


@pytest.mark.parametrize(("cost", "detach"), FORMS)
def test_settings_are_the_formulas(cost: str, detach: bool) -> None:
    z = draw(3)
    words = {"t_pos": 0.7, "t_neg": 1.3, "alpha": 0.6, "beta": 1.7}
    agree(cacr_loss(z, cost=cost, detach_weights=detach, **words).loss, dense(z, cost, detach, **words), z)
    words = {"symmetric": False, "in_batch": False}
    ours = cacr_loss(z, None, queue(), cost=cost, detach_weights=detach, **words).loss
    agree(ours, dense(z, cost, detach, None, queue(), **words), z)
    if cost == "euclidean":
        ours = cacr_loss(z, debias=0.1, detach_weights=detach).loss
        agree(ours, dense(z, cost, detach, debias=0.1), z)


@pytest.mark.parametrize("cost", COSTS)
def test_gradients_are_those_of_the_value(cost: str) -> None:
    def loss(*views: Tensor) -> Tensor:
        return cacr_loss(list(views), IDS[:3], queue(2), QUEUE_IDS, cost=cost, detach_weights=False).loss

    assert torch.autograd.gradcheck(loss, tuple(draw(3, 3, 2)))


def test_slope_by_a_distance() -> None:
    """``p (1 + t (d - mean))`` of positives, ``- q (1 - t (d - mean))`` of negatives; held: ``p`` and ``- q``."""
    anchor = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    others = unit(torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    views = [torch.stack([anchor, -anchor])] + [torch.stack([o, o.flip(0)]) for o in others]
    views = [view.requires_grad_() for view in views]
    d = torch.stack([apart(anchor, o) for o in others])
    for detach in (True, False):
        loss = cacr_loss(views, beta=0.0, t_pos=1.5, symmetric=False, detach_weights=detach).loss
        p = (1.5 * d).softmax(0)
        slope = p if detach else p * (1 + 1.5 * (d - (p * d).sum()))
        by_anchor = torch.autograd.grad(loss, views[0])[0][0] * 2  # a mean over two samples
        expected = -2 * (slope[:, None] * others).sum(0)
        torch.testing.assert_close(by_anchor, expected - anchor * (expected @ anchor), rtol=1e-10, atol=1e-12)
        near = [anchor[None].clone().requires_grad_(), -anchor[None]]
        loss = cacr_loss(near, None, others, alpha=0.0, symmetric=False, in_batch=False, detach_weights=detach).loss
        q = (-2.0 * d).softmax(0)
        slope = q if detach else q * (1 - 2.0 * (d - (q * d).sum()))
        expected = 2 * (slope[:, None] * others).sum(0)
        by_anchor = torch.autograd.grad(loss, near[0])[0][0]
        torch.testing.assert_close(by_anchor, expected - anchor * (expected @ anchor), rtol=1e-10, atol=1e-12)


def test_one_positive_is_the_plain_distance() -> None:
    z = draw(2)
    distance = (unit(z[0]) - unit(z[1])).square().sum(1).mean()
    for t_pos in (0.0, 1.0, 9.0):
        torch.testing.assert_close(cacr_loss(z, beta=0.0, alpha=0.7, t_pos=t_pos).loss, 0.7 * distance)


def test_uniform_weights_are_alignment_and_uniformity() -> None:
    z = draw(2, 6)
    a, b = (unit(view) for view in z)
    cosine = (a @ b.t())[~torch.eye(6, dtype=torch.bool)]
    align = (a - b).square().sum(1).mean()
    plain = cacr_loss(z, t_pos=0.0, t_neg=0.0).loss
    torch.testing.assert_close(plain, align - (2 - 2 * cosine).mean())
    potential = cacr_loss(z, alpha=0.0, t_neg=0.0, cost="rbf").loss
    torch.testing.assert_close(potential, torch.exp(-2 * (2 - 2 * cosine)).mean().log())


def test_sharp_weights_see_the_farthest_positive_and_the_nearest_negative() -> None:
    z = draw(4)
    rows = torch.stack([unit(view) for view in z])
    d = 2 - 2 * torch.einsum("aid,bjd->abij", rows, rows)
    own = d.diagonal(dim1=2, dim2=3).clone()
    own.diagonal(dim1=0, dim2=1).fill_(-1.0)
    far = own.amax(1).mean()
    near = d.masked_fill(torch.eye(5, dtype=torch.bool), 9.0).amin(3)[~torch.eye(4, dtype=torch.bool)].mean()
    torch.testing.assert_close(cacr_loss(z, t_pos=2e3, t_neg=2e3).loss, far - near, rtol=1e-6, atol=0)


def test_the_mocov3_form_is_info_nce_times_twice_the_temperature() -> None:
    z = draw(2)
    expected = 2 * 0.2 * info_nce_loss(z, temperature=0.2).loss
    agree(cacr_loss(z, cost="info_nce", t_pos=5.0, t_neg=2.5).loss, expected, z)
    assert CACR(t_neg=2.5, cost="info_nce").chance(8) == pytest.approx(2 * 0.2 * InfoNCE(0.2).chance(8))


def test_without_bias_nothing_is_debiased() -> None:
    z = draw(3)
    torch.testing.assert_close(cacr_loss(z, debias=1e-12).loss, cacr_loss(z).loss, rtol=1e-10, atol=1e-10)
    assert cacr_loss(z, debias=0.1).loss != cacr_loss(z).loss


@pytest.mark.parametrize(("cost", "detach"), FORMS)
def test_views_that_coincide_and_zero_rows_have_finite_gradients(cost: str, detach: bool) -> None:
    z = draw(3)
    with torch.no_grad():
        z[1].copy_(z[0])
        z[2][1] = 0.0
    loss = cacr_loss(z, cost=cost, detach_weights=detach).loss
    gradients = torch.autograd.grad(loss, z)
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients)
    assert torch.equal(gradients[2][1], torch.zeros(4, dtype=torch.float64)) and gradients[0].abs().max() > 0


@pytest.mark.parametrize(("cost", "detach"), FORMS)
def test_duplicates_are_never_negatives(cost: str, detach: bool) -> None:
    """With duplicates only, nothing repels; beside others, they are left out of the batch and of the queue."""
    z = draw(2, 3)
    same = torch.tensor([5, 5, 5])
    result = cacr_loss(z, same, cost=cost, detach_weights=detach, alpha=0.0, beta=1.0)
    loss = result.loss
    assert all(part.isfinite() for part in result.parts.values())
    gradients = torch.autograd.grad(loss, z)
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients)
    if cost != "info_nce":  # there the positive is in the denominator
        assert loss == 0 and all(not g.any() for g in gradients)
    two = torch.tensor([5, 5, 1])
    agree(cacr_loss(z, two, cost=cost, detach_weights=detach).loss, dense(z, cost, detach, two), z)
    held, words = torch.tensor([5, 5, 1, 1]), {"in_batch": False, "symmetric": False}
    ours = cacr_loss(z, two, queue(), held, cost=cost, detach_weights=detach, **words).loss
    agree(ours, dense(z, cost, detach, two, queue(), held, **words), z)


@pytest.mark.parametrize("cost", COSTS)
def test_permutation_rotation_and_stretch_change_nothing(cost: str) -> None:
    z, generator = draw(3), torch.Generator().manual_seed(0)
    order = torch.randperm(5, generator=generator)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    expected = cacr_loss(z, IDS, cost=cost).loss
    for changed, ids in (
        ([v[order] for v in z], IDS[order]),
        ([v @ turn for v in z], IDS),
        ([v * 3.0 for v in z], IDS),
        ([z[2], z[0], z[1]], IDS),
    ):
        torch.testing.assert_close(cacr_loss(changed, ids, cost=cost).loss, expected)


def test_the_queue_takes_no_gradient_and_may_be_all_there_is() -> None:
    rows = queue().requires_grad_()
    z = draw(2, 1)
    cacr_loss(z, None, rows).loss.backward()
    assert rows.grad is None and z[0].grad is not None


def test_parts() -> None:
    z = draw(3)
    for cost in COSTS:
        result = CACR(cost=cost, alpha=0.5, beta=2.0)(z)
        result.loss.backward()
        parts = dict(result.parts)
        names = {"positive", "attraction", "repulsion", "sharpness_positive", "sharpness_negative"}
        assert set(parts) == names and not any(value.requires_grad for value in parts.values())
        torch.testing.assert_close(0.5 * parts["attraction"] + 2.0 * parts["repulsion"], result.loss.detach())
    flat, sharp = CACR(0.0, 0.0)(z).parts, CACR(50.0, 50.0)(z).parts
    assert float(flat["sharpness_positive"]) == pytest.approx(1 / 2)
    assert float(flat["sharpness_negative"]) == pytest.approx(1 / 4)
    assert float(sharp["sharpness_positive"]) > 0.9 and float(sharp["sharpness_negative"]) > 0.9


@pytest.mark.parametrize("cost", COSTS)
def test_half_precision(cost: str) -> None:
    z = [torch.randn(40, 16, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    exact = cacr_loss([v.double() for v in z], cost=cost).loss
    with torch.autocast("cpu", torch.bfloat16):
        inside = cacr_loss([v.requires_grad_() for v in z], cost=cost).loss
    torch.testing.assert_close(inside.double(), exact, rtol=1e-5, atol=1e-5)
    inside.backward()
    coarse = cacr_loss([v.detach().bfloat16() for v in z], cost=cost).loss
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse.double(), exact, rtol=5e-2, atol=5e-2)


def test_no_level_of_chance_but_for_the_cross_entropy() -> None:
    assert CACR().chance(8) is None and CACR(cost="rbf").chance(8) is None
    objective = CACR(t_neg=0.5, cost="info_nce", beta=1.0)
    same = [torch.ones(6, 3, dtype=torch.float64)] * 3
    assert objective(same).loss.item() == pytest.approx(objective.chance(6)) == pytest.approx(2 * math.log(6))


def refused(kind: type[Exception], text: str, *args: object, **words: object) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        cacr_loss(*args, **words)


def test_refusals() -> None:
    z = draw(2)
    refused(ConfigError, "t_neg: found infinity; allowed: a finite number", z, t_neg=math.inf)
    refused(ConfigError, "t_pos: found -1", z, t_pos=-1)
    refused(ConfigError, "t_cost: found 0", z, t_cost=0)
    refused(ConfigError, "cost: found 'cosine'; allowed: 'euclidean' or 'rbf' or 'info_nce'", z, cost="cosine")
    refused(ConfigError, "t_neg: found 0; allowed: a number above 0", z, cost="info_nce", t_neg=0)
    refused(ConfigError, "debias: found 1", z, debias=1)
    refused(ConfigError, "debias: found 0.1 with cost='rbf'; allowed: 0 there", z, debias=0.1, cost="rbf")
    refused(ShapeError, "embeddings: found 1 view(s)", z[:1])
    refused(ShapeError, "negatives: found 1 sample(s) and no queue", [v[:1] for v in z])
    refused(ShapeError, "ids: found torch.int64 (3,)", z, torch.arange(3))
    with torch.no_grad():
        z[1][3] = torch.nan
    refused(ShapeError, "embeddings[1]: found NaN or infinity in 1 row(s): 3;", z)


@pytest.mark.parametrize("make", [CACR, lambda: CACR(cost="rbf"), lambda: CACR(1.0, 0.9, detach_weights=False)])
def test_digits_are_told_apart_better_than_before(make) -> None:
    torch.manual_seed(0)
    method = methods.SimCLR(Net(), make())
    untrained = knn(method.encoder)
    losses = Training(method, 60, lr=5e-3).run(0, 60)
    assert knn(method.encoder) > untrained + 0.08 and losses[-1] < losses[0]


def test_with_a_queue_of_keys() -> None:
    torch.manual_seed(0)
    method = methods.MoCo(Net(), CACR(symmetric=False, in_batch=False), queue_size=512)
    untrained = knn(method.encoder)
    Training(method, 60, lr=5e-3).run(0, 60)
    assert knn(method.encoder) > untrained + 0.05
