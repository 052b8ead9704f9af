"""Feature transformation against its formula, and the identities that make positives harder and negatives more even."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import MoCo, SimCLR
from counterpoint.objectives import FeatureTransform, feature_transform_loss, info_nce_loss, mixing
from counterpoint.objectives import feature_transform as module
from counterpoint.objectives.base import Parts
from counterpoint.objectives.feature_transform import Moves, weights
from learners import Net, Training, knn

pytestmark = pytest.mark.unit

T = 0.3


def rows(count: int, seed: int, width: int = 5) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(count: int, seed: int) -> Tensor:
    return F.normalize(rows(count, seed), dim=1)


def loss(*args: Any, **settings: Any) -> Any:
    torch.manual_seed(5)
    return feature_transform_loss(*args, temperature=T, **settings)


class Drawn:
    """The weights and permutations of a call."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.orders: list[Tensor] = []


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawn]:
    seen, beta, randperm = Drawn(), mixing.beta, torch.randperm

    def noted_beta(*args: Any, **kwargs: Any) -> Tensor:
        seen.weights.append(beta(*args, **kwargs))
        return seen.weights[-1]

    def noted_order(*args: Any, **kwargs: Any) -> Tensor:
        seen.orders.append(randperm(*args, **kwargs))
        return seen.orders[-1]

    monkeypatch.setattr(mixing, "beta", noted_beta)
    monkeypatch.setattr(torch, "randperm", noted_order)
    yield seen


def column(weight: Tensor) -> Tensor:
    return weight[:, None] if weight.dim() == 1 else weight


def dense(q: Tensor, k: Tensor, queue: Tensor, x: Tensor, w: Tensor, order: Tensor, out: Tensor) -> Tensor:
    """Cross-entropy over the whole matrix; ``out``: (B, M) bool, pairs that are left out."""
    x, w = column(x), column(w)
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    moved, other = x * q + (1 - x) * k, x * k + (1 - x) * q
    mixed = w * queue + (1 - w) * queue[order]
    logits = torch.cat([(moved * other).sum(1, keepdim=True), (moved @ mixed.t()).masked_fill(out, -torch.inf)], dim=1)
    return F.cross_entropy(logits / T, torch.zeros(len(q), dtype=torch.int64))


@pytest.mark.parametrize("granularity", ["step", "sample", "dim"])
def test_value_and_gradient_are_those_of_the_formula(drawn: Drawn, granularity: module.Granularity) -> None:
    query, key, queue = rows(6, 0).requires_grad_(), rows(6, 1), unit(20, 2)
    ids, queue_ids = torch.arange(6), torch.arange(20) % 9
    result = loss((query, key), ids, queue, queue_ids, extrapolate=granularity, interpolate=granularity)
    result.loss.backward()
    w, x = drawn.weights[0], 1 + drawn.weights[1]
    shapes = {"step": ((), ()), "sample": ((20,), (6,)), "dim": ((20, 5), (6, 5))}[granularity]
    assert (w.shape, x.shape) == shapes and len(drawn.weights) == 2 and len(drawn.orders) == 1
    assert w.min() >= 0 and w.max() <= 1 <= x.min() and x.max() <= 2
    order = drawn.orders[0]
    out = (ids[:, None] == queue_ids) | (ids[:, None] == queue_ids[order])
    plain = query.detach().clone().requires_grad_()
    expected = dense(plain, key, queue, x, w, order, out)
    expected.backward()
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(query.grad, plain.grad)


def test_the_gradient_reaches_queries_keys_and_the_batchs_other_samples() -> None:
    def value(*views: Tensor) -> Tensor:
        return loss(views).loss

    views = [rows(5, s).requires_grad_() for s in range(3)]
    assert torch.autograd.gradcheck(value, views[:2])
    assert torch.autograd.gradcheck(value, views)
    assert torch.autograd.gradcheck(lambda *v: loss(v, negatives=unit(7, 9), in_batch=True).loss, views[:2])


def test_in_the_batch_no_mixture_holds_the_anchors_own_sample(drawn: Drawn) -> None:
    first, second = rows(6, 0), rows(6, 1)
    result = loss((first, second))
    (x, w, v), (order, back) = drawn.weights, drawn.orders
    x = 1 + x
    eye = torch.eye(6, dtype=torch.bool)
    one = dense(first, second, F.normalize(second, dim=1), x, w, order, eye | eye[:, order])
    two = dense(second, first, F.normalize(first, dim=1), x, v, back, eye | eye[:, back])
    torch.testing.assert_close(result.loss, (one + two) / 2)


def test_at_weights_of_one_and_with_nothing_to_move_it_is_infonce_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, queue = rows(6, 0).float(), rows(6, 1).float(), rows(30, 2).float()
    expected = info_nce_loss((query, key), negatives=queue, temperature=T, symmetric=False, in_batch=False).loss
    assert torch.equal(loss((query, key), negatives=queue, extrapolate=None, interpolate=None).loss, expected)
    objective = FeatureTransform(T, warmup=0.2)
    assert torch.equal(objective((query, key), negatives=queue).loss, expected)
    objective.progress = 0.2
    assert not torch.equal(objective((query, key), negatives=queue).loss, expected)
    monkeypatch.setattr(module, "weights", lambda kind, alpha, like: torch.tensor(1.0 if alpha == 1.6 else 0.0))
    assert torch.equal(loss((query, key), negatives=queue).loss, expected)


@pytest.mark.parametrize("x", [1.0, 1.3, 2.0])
def test_what_extrapolation_does_to_a_positive(x: float) -> None:
    q, k = unit(9, 0).requires_grad_(), unit(9, 1)
    s = (q * k).sum(1)
    far, near = mixing.mix(q, k, x), mixing.mix(k, q, x)
    score = (far * near).sum(1)
    torch.testing.assert_close(score, s + 2 * x * (1 - x) * (1 - s))
    assert bool((score <= s + 1e-12).all())
    torch.testing.assert_close(far.square().sum(1), 1 - 2 * x * (1 - x) * (1 - s))
    torch.testing.assert_close(far + near, q + k)
    score.sum().backward()
    assert q.grad is not None
    across = q.grad - (q.grad * q).sum(1, keepdim=True) * q
    torch.testing.assert_close(across.detach(), ((x**2 + (1 - x) ** 2) * (k - s[:, None] * q)).detach())
    torch.testing.assert_close(mixing.mix(k, k, x), k)


def test_interpolation_keeps_the_mean_and_evens_the_scores(drawn: Drawn) -> None:
    query, queue = unit(8, 0), unit(200, 2)
    result = loss((query, unit(8, 1)), negatives=queue)
    w, order = drawn.weights[0], drawn.orders[0]
    mixed = w * queue + (1 - w) * queue[order]
    torch.testing.assert_close(mixed.mean(0), queue.mean(0))
    parts = result.parts
    torch.testing.assert_close(parts["negative_variance"], (query @ queue.t()).var(1).mean())
    torch.testing.assert_close(parts["negative_variance_transformed"], (query @ mixed.t()).var(1).mean())
    assert parts["negative_variance_transformed"] < parts["negative_variance"]
    assert parts["positive_transformed"] < parts["positive"]
    torch.testing.assert_close(parts["positive"], (query * unit(8, 1)).sum(1).mean())


def test_weights_by_granularity() -> None:
    like = rows(1000, 0)
    assert weights("step", 2.0, like).shape == ()
    for kind, shape in (("sample", (1000,)), ("dim", (1000, 5))):
        found = weights(kind, 2.0, like)  # type: ignore[arg-type]
        assert found.shape == shape and found.dtype == like.dtype
        assert abs(found.mean() - 0.5) < 0.03 and abs(found.var() - 0.05) < 0.01


def test_normalised_mixtures_are_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "weights", lambda kind, alpha, like: torch.tensor(0.3, dtype=like.dtype))
    monkeypatch.setattr(torch, "randperm", lambda size, device=None: torch.arange(size).roll(1))
    query, key, queue = rows(6, 0).requires_grad_(), rows(6, 1), unit(20, 2)
    ours = loss((query, key), negatives=queue, normalize=True).loss
    q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
    moved, other = (F.normalize(1.3 * a - 0.3 * b, dim=1) for a, b in ((q, k), (k, q)))
    mixed = F.normalize(0.3 * queue + 0.7 * queue.roll(1, 0), dim=1)
    logits = torch.cat([(moved * other).sum(1, keepdim=True), moved @ mixed.t()], 1) / T
    expected = F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(*(torch.autograd.grad(found, query)[0] for found in (ours, expected)))


@pytest.mark.parametrize("granularity", ["step", "sample", "dim"])
def test_views_that_agree_are_left_where_they_are(granularity: module.Granularity) -> None:
    query, queue = rows(6, 0), unit(20, 2)
    plain = info_nce_loss((query, query), negatives=queue, temperature=T, symmetric=False, in_batch=False).loss
    moved = loss((query, 3 * query), negatives=queue, extrapolate=granularity, interpolate=None).loss
    torch.testing.assert_close(moved, plain)


@pytest.mark.parametrize("ids", [[0, 1], [0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1]])
def test_an_anchor_that_has_a_negative_keeps_one(ids: list[int]) -> None:
    """Where every mixture holds something of its own, it is compared with the rows themselves."""
    views = [rows(len(ids), seed).requires_grad_() for seed in range(2)]
    for seed in range(20):
        torch.manual_seed(seed)
        found = feature_transform_loss(views, torch.tensor(ids), temperature=T, extrapolate=None).loss
        for gradient in torch.autograd.grad(found, views):
            assert gradient.abs().sum(1).min() > 0
    torch.manual_seed(2)
    assert torch.autograd.gradcheck(lambda *v: loss(v, torch.tensor(ids)).loss, views)


def test_chance_leaves_out_the_mixture_of_the_anchors_own_sample() -> None:
    for interpolate, candidates in (("step", 7), (None, 8)):
        objective = FeatureTransform(T, interpolate=interpolate)  # type: ignore[arg-type]
        assert objective.chance(8) == pytest.approx(math.log(candidates))
    queued = FeatureTransform(T)
    queued((rows(6, 0), rows(6, 1)), negatives=rows(40, 2))
    assert queued.chance(6) == pytest.approx(math.log(41))


def test_the_module_hands_on_its_settings() -> None:
    words: dict[str, Any] = {
        "extrapolate": "sample",
        "interpolate": "dim",
        "extrapolate_alpha": 0.7,
        "interpolate_alpha": 0.9,
        "normalize": True,
    }
    query, queue = rows(6, 0).requires_grad_(), unit(20, 2)
    found = []
    for call in (FeatureTransform(T, **words), partial(feature_transform_loss, temperature=T, **words)):
        torch.manual_seed(0)
        value = call((query, rows(6, 1)), negatives=queue).loss
        found.append((value.detach(), torch.autograd.grad(value, query)[0]))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_zero_rows_half_precision_and_nan() -> None:
    query, key, queue = rows(6, 0).float(), rows(6, 1).float(), rows(30, 2).float()
    query[1] = 0
    query.requires_grad_()
    result = loss((query, key), negatives=queue)
    result.loss.backward()
    assert torch.isfinite(query.grad).all() and not query.grad[1].any()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss((query, key), negatives=queue).loss, result.loss)
    broken = key.clone()
    broken[3] = torch.inf
    with pytest.raises(ShapeError, match=r"embeddings\[1\]: found NaN or infinity in 1 row\(s\): 3"):
        loss((query, broken), negatives=queue)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"extrapolate: found 'row'; allowed: 'step' or 'sample' or 'dim' or None"):
        FeatureTransform(extrapolate="row")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="interpolate_alpha: found 0; allowed: a number above 0"):
        Moves("step", "step", 1.0, 0, False)


@pytest.mark.parametrize("frame", ["moco", "simclr"])
def test_it_learns_to_tell_digits_apart_and_the_queue_keeps_raw_keys(frame: str) -> None:
    torch.manual_seed(0)
    objective = FeatureTransform(0.2, warmup=0.1)
    method = MoCo(Net(), objective, queue_size=512) if frame == "moco" else SimCLR(Net(), objective)
    untrained = knn(method.encoder)
    Training(method, 60, lr=5e-3).run(0, 60)
    assert knn(method.encoder) > untrained + 0.08
    if isinstance(method, MoCo):
        torch.testing.assert_close(method.queue.rows.norm(dim=1), torch.ones(512))


@pytest.mark.parametrize("queued", [False, True])
def test_the_variance_is_that_of_the_negatives_alone(queued: bool) -> None:
    """What holds something of the anchor's content is no negative, whether raw or mixed, old or new."""
    z, held = [unit(6, seed) for seed in (1, 2)], unit(9, 3)
    ids, old = torch.tensor([0, 1, 2, 3, 0, 4]), torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8])
    arguments = (z, ids, held, old) if queued else (z, ids)
    torch.manual_seed(0)
    parts = feature_transform_loss(*arguments, temperature=T, extrapolate=None).parts
    others, known = (held, old) if queued else (z[1], ids)
    allowed = ids[:, None] != known
    scores = z[0] @ others.t()
    expected = torch.stack([row[kept].var() for row, kept in zip(scores, allowed)]).mean()
    torch.testing.assert_close(parts["negative_variance"], expected)
    assert parts["negative_variance_transformed"].isfinite()


def test_the_variance_of_one_negative_is_none() -> None:
    parts = feature_transform_loss([unit(4, 1), unit(4, 2)], None, unit(1, 3), temperature=T).parts
    assert parts["negative_variance"] == parts["negative_variance_transformed"] == 0


def held(item: Any) -> list[Tensor]:
    """Every tensor that parts not yet read hold on to."""
    if isinstance(item, Tensor):
        return [item]
    if isinstance(item, Parts):
        item = [cell.cell_contents for cell in item._later.__closure__ or ()]
    elif isinstance(item, dict):
        item = list(item.values())
    elif dataclasses.is_dataclass(item):
        item = [getattr(item, field.name) for field in dataclasses.fields(item)]
    return [tensor for one in item for tensor in held(one)] if isinstance(item, (list, tuple)) else []


@pytest.mark.parametrize("views", [2, 3])
def test_parts_hold_no_graph(views: int) -> None:
    parts = feature_transform_loss([unit(6, seed).requires_grad_() for seed in range(views)], temperature=T).parts
    found = held(parts)
    assert len(found) > 5 and not any(tensor.requires_grad for tensor in found)
