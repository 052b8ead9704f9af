"""What all contrastive objectives owe: answers to odd inputs, common laws, and both ways to compute them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import (
    CACR,
    DCL,
    FeatureTransform,
    InfoNCE,
    MoCHi,
    NTXent,
    Objective,
    Sigmoid,
    SupCon,
    _rows,
    _tiles,
)

pytestmark = pytest.mark.unit

MAKE: dict[str, Callable[[], Objective]] = {
    "NTXent": lambda: NTXent(0.2),
    "InfoNCE": lambda: InfoNCE(0.2),
    "InfoNCE, smoothed": lambda: InfoNCE(0.2, label_smoothing=0.005),
    "DCL": lambda: DCL(0.2),
    "DCLW": lambda: DCL(0.2, "neg_vmf"),
    "SupCon": lambda: SupCon(0.2),
    "Sigmoid": lambda: Sigmoid(0.2, bias=-2.0, learnable_temperature=False, learnable_bias=False).double(),
}
LEARNT: dict[str, Callable[[], Objective]] = {
    "NTXent": lambda: NTXent(0.2, learnable_temperature=True),
    "InfoNCE": lambda: InfoNCE(0.2, learnable_temperature=True),
    "InfoNCE, smoothed": lambda: InfoNCE(0.2, learnable_temperature=True, label_smoothing=0.1),
    "DCL": lambda: DCL(0.2, learnable_temperature=True),
    "SupCon": lambda: SupCon(0.2, learnable_temperature=True),
    "Sigmoid": lambda: Sigmoid(0.2, bias=-2.0),
}
EVERY: dict[str, Callable[[], Objective]] = {
    **MAKE,
    "MoCHi": lambda: MoCHi(0.2, hardest=4, mixed=4, query_mixed=2),
    "FeatureTransform": lambda: FeatureTransform(0.2),
    "CACR": CACR,
}
"""Those too that draw, or whose weights make other laws: what odd inputs are answered is the same for all."""
each = pytest.mark.parametrize("name", MAKE)
of_all = pytest.mark.parametrize("name", EVERY)


def draw(views: int, size: int, width: int = 4, seed: int = 0) -> list[Tensor]:
    """Views with a common part, so that positives are alike."""
    rows = torch.randn(views + 1, size, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [(row + rows[0]).requires_grad_() for row in rows[1:]]


def step(objective: Objective, views: list[Tensor], **more: Tensor | None) -> tuple[Tensor, ...]:
    """Loss and all gradients."""
    loss = objective(views, **more).loss
    learnt = [p for p in objective.parameters() if p.requires_grad]
    return loss.detach(), *torch.autograd.grad(loss, [*views, *learnt])


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switch off the single function for small batches, and cut the matrix into tiles of 3."""

    def switch() -> None:
        monkeypatch.setattr(_rows, "SMALL", 0)
        monkeypatch.setattr(_tiles, "WHOLE", 0)
        monkeypatch.setattr(_tiles, "CPU_TILE", 3)

    return switch


@pytest.mark.parametrize("ids", [None, [3, 1, 3, 5, 1, 8, 9]])
@pytest.mark.parametrize("name", LEARNT)
def test_the_short_way_and_the_tiles_agree(name: str, ids: list[int] | None, long_way: Callable[[], None]) -> None:
    objective, views = LEARNT[name]().double(), draw(2, 7)
    more = {"ids": None if ids is None else torch.tensor(ids)}
    short, parts = step(objective, views, **more), objective(views, **more).parts
    long_way()
    torch.testing.assert_close(step(objective, views, **more), short, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(objective(views, **more).parts, parts, rtol=1e-9, atol=1e-12)


@each
def test_gradients_are_those_of_the_value(name: str) -> None:
    objective = MAKE[name]()
    if name == "DCLW":
        objective = DCL(0.2, "neg_vmf", weight_gradient=True)
    assert torch.autograd.gradcheck(lambda *views: objective(views).loss, tuple(draw(2, 3, 2)))
    assert torch.autograd.gradcheck(lambda *views: objective(views).loss, tuple(draw(3, 3, 2)))
    ids, queue = torch.tensor([4, 4, 1]), torch.randn(2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *views: objective(views, ids, queue).loss, tuple(draw(2, 3, 2)))


@pytest.mark.parametrize("name", LEARNT)
def test_temperature_and_bias_get_their_gradient(name: str) -> None:
    objective, views = LEARNT[name]().double(), draw(2, 5)
    gradients = step(objective, views)[3:]
    assert len(gradients) == (2 if name == "Sigmoid" else 1)
    for parameter, gradient in zip(objective.parameters(), gradients):
        ends = []
        for shift in (1e-6, -2e-6):
            with torch.no_grad():
                parameter += shift
                ends.append(objective(views).loss)
        with torch.no_grad():
            parameter += 1e-6
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-6, gradient, rtol=1e-6, atol=1e-8)


@each
@settings(deadline=None, max_examples=15)
@given(size=st.integers(2, 9), views=st.integers(2, 3), seed=st.integers(0, 10_000))
def test_laws(name: str, size: int, views: int, seed: int) -> None:
    """Permuting the samples, rotating the space and stretching rows change nothing."""
    objective, rows = MAKE[name](), draw(views, size, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(size, generator=generator)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    stretch = torch.rand(size, 1, generator=generator, dtype=torch.float64) + 0.1
    expected = objective(rows).loss
    for changed in ([r[order] for r in rows], [r @ turn for r in rows], [r * stretch for r in rows]):
        torch.testing.assert_close(objective(changed).loss, expected, rtol=1e-9, atol=1e-11)
    ids = torch.randint(0, 4, (size,), generator=generator)
    shuffled = objective([r[order] for r in rows], ids[order]).loss
    torch.testing.assert_close(shuffled, objective(rows, ids).loss, rtol=1e-9, atol=1e-11)


@each
def test_views_are_interchangeable(name: str) -> None:
    views = draw(3, 5)
    torch.testing.assert_close(MAKE[name]()(views[:2]).loss, MAKE[name]()(views[1::-1]).loss, rtol=1e-10, atol=1e-12)
    if name != "Sigmoid":
        order = [views[2], views[0], views[1]]
        torch.testing.assert_close(MAKE[name]()(views).loss, MAKE[name]()(order).loss, rtol=1e-10, atol=1e-12)


@each
def test_distinct_ids_are_no_ids(name: str) -> None:
    views, ids = draw(2, 6), torch.tensor([9, 2, 7, 4, 11, 3])
    torch.testing.assert_close(step(MAKE[name](), views, ids=ids), step(MAKE[name](), views), rtol=1e-9, atol=1e-12)


@each
def test_a_duplicate_is_not_pushed_away(name: str) -> None:
    """With the one other sample a duplicate, moving it away from the anchor must not lower the loss."""
    views = [torch.eye(2, dtype=torch.float64).requires_grad_() for _ in range(2)]
    as_negative = step(MAKE[name](), views)[1][0, 1]
    as_duplicate = step(MAKE[name](), views, ids=torch.tensor([5, 5]))[1][0, 1]
    assert as_negative > 1e-3 and as_duplicate < 1e-9


@each
@pytest.mark.parametrize("views", [2, 3])
def test_total_collapse_is_at_chance(name: str, views: int) -> None:
    size = 5
    objective = MAKE[name]()
    if name == "Sigmoid":
        bias = math.log(1 / (size - 1)) - 1 / 0.2  # the best constant logit
        objective = Sigmoid(0.2, bias, learnable_temperature=False).double()
    same = torch.ones(size, 3, dtype=torch.float64)
    result = objective([same] * views)
    assert result.loss.item() == pytest.approx(objective.chance(size), rel=1e-6)
    assert float(result.parts["positive"]) == pytest.approx(1.0)


@of_all
def test_a_zero_row_is_finite_and_gets_no_gradient(name: str) -> None:
    views = draw(2, 5)
    with torch.no_grad():
        views[0][2] = 0.0
    loss, first, second = step(EVERY[name](), views)
    assert loss.isfinite() and torch.equal(first[2], torch.zeros(4, dtype=torch.float64))
    assert first.isfinite().all() and second.isfinite().all() and 0 < second.abs().max() < 100


@each
def test_float32_and_bfloat16_agree_with_float64(name: str) -> None:
    views = draw(2, 40, 16)
    exact = step(MAKE[name](), views)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 3e-2)):
        cast = [v.detach().to(dtype).requires_grad_() for v in views]
        loss, *gradients = step(MAKE[name]().float(), cast)
        assert loss.dtype == torch.float32 and gradients[0].dtype == dtype
        torch.testing.assert_close(loss.double(), exact[0], rtol=tolerance, atol=tolerance)
        for ours, theirs in zip(gradients, exact[1:]):
            assert (ours.double() - theirs).abs().max() < 3 * tolerance * theirs.abs().max()


@each
def test_parts_are_named_detached_scalars(name: str) -> None:
    views = draw(2, 6)
    parts = MAKE[name]()(views).parts
    expected = {"positive", "p_positive"}
    if name == "Sigmoid":
        expected |= {"bias"}
    elif name != "SupCon":
        expected |= {"q_mean", "q_std"}
    assert set(parts) == expected
    assert all(p.dim() == 0 and not p.requires_grad for p in parts.values())
    cosine = torch.nn.functional.cosine_similarity(*views).mean()
    torch.testing.assert_close(parts["positive"].double(), cosine.detach(), rtol=1e-9, atol=0)
    if "q_mean" in parts:
        torch.testing.assert_close(parts["q_mean"], 1 - parts["p_positive"])


@of_all
def test_a_nan_row_is_named(name: str) -> None:
    views = draw(2, 12)
    with torch.no_grad():
        views[1][[3, 5]] = torch.nan
    text = (
        "embeddings[1]: found NaN or infinity in 2 row(s): 3, 5; allowed: finite values. "
        "Look at these samples, or lower the learning rate."
    )
    with pytest.raises(ShapeError, match=re.escape(text)):
        EVERY[name]()(views)
    with torch.no_grad():
        views[1][:] = torch.inf
    with pytest.raises(ShapeError, match=re.escape("in 12 row(s): 0, 1, 2, 3, 4, 5, 6, 7, …; allowed")):
        EVERY[name]()(views)
    queue = torch.full((2, 4), torch.nan)
    with pytest.raises(ShapeError, match=re.escape("negatives: found NaN or infinity in 2 row(s): 0, 1;")):
        EVERY[name]()(draw(2, 3), negatives=queue)


@of_all
def test_shapes_that_do_not_fit_are_named(name: str) -> None:
    objective = EVERY[name]()
    a, b = draw(2, 4)

    def refused(text: str, *args: object, **more: object) -> None:
        with pytest.raises(ShapeError, match=re.escape(text)):
            objective(*args, **more)

    refused("embeddings: found 1 view(s); allowed: 2 or more.", [a])
    refused("embeddings[1]: found shape (3, 4); allowed: (4, 4) as in embeddings[0].", [a, b[:3]])
    refused("embeddings[0]: found shape (4,)", [a[:, 0], b[:, 0]])
    refused("embeddings[0]: found torch.int64", [a.long(), b.long()])
    refused("ids: found torch.int64 (3,); allowed: int64 (4,).", [a, b], torch.arange(3))
    refused("ids: found torch.float32 (4,); allowed: int64 (4,).", [a, b], torch.zeros(4))
    refused("negatives: found (2, 3); allowed: (M, 4) with M >= 1.", [a, b], negatives=torch.zeros(2, 3))
    refused("negatives: found (0, 4)", [a, b], negatives=torch.zeros(0, 4))


@of_all
def test_one_sample_needs_a_queue(name: str) -> None:
    objective, views = EVERY[name](), draw(2, 1)
    text = (
        "negatives: found 1 sample(s) and no queue; allowed: two samples or more, or a queue. "
        "Raise the batch size, or pass `negatives`."
    )
    with pytest.raises(ShapeError, match=re.escape(text)):
        objective(views)
    queue = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert objective(views, negatives=queue).loss.isfinite()


@of_all
def test_the_queue_takes_no_gradient(name: str) -> None:
    queue = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    EVERY[name]()(draw(2, 3), negatives=queue).loss.backward()
    assert queue.grad is None


@pytest.mark.parametrize("name", [n for n in MAKE if n != "SupCon"])
def test_ids_of_the_queue_leave_duplicates_out(name: str) -> None:
    objective, views, ids = MAKE[name](), draw(2, 3), torch.tensor([4, 5, 6])
    queue = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    known = objective(views, ids, queue, torch.tensor([9, 9, 8, 7])).loss
    torch.testing.assert_close(known, objective(views, ids, queue).loss, rtol=1e-10, atol=0)
    assert objective(views, ids, queue, torch.tensor([9, 4, 8, 6])).loss < known
    with pytest.raises(ShapeError, match="negative_ids: found given; allowed: only together with ids and negatives"):
        objective(views, None, queue, torch.arange(4))


@pytest.mark.parametrize("make", [NTXent, InfoNCE, DCL, SupCon, Sigmoid])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_temperature_must_be_above_zero(make: Callable[[float], Objective], value: float) -> None:
    with pytest.raises(ConfigError, match=f"temperature: found {value}; allowed: a number above 0"):
        make(value)


@pytest.mark.parametrize("make", [NTXent, InfoNCE, DCL, SupCon, Sigmoid])
def test_a_learnable_temperature_stays_at_a_hundredth_or_more(make: Callable[..., Objective]) -> None:
    objective = make(temperature=0.02, learnable_temperature=True)
    with torch.no_grad():
        objective.temperature.log_scale += 5.0
    result = objective([v.detach() for v in draw(2, 4)])
    assert float(result.parts["temperature"]) == pytest.approx(0.01, rel=1e-5)
    result.loss.backward()
    assert objective.temperature.log_scale.grad.abs() > 0, "a scale at its limit must be able to come back"
    with pytest.raises(ConfigError, match=re.escape("temperature: found 0.005; allowed: 0.01 or more if learnable.")):
        make(temperature=0.005, learnable_temperature=True)


@pytest.mark.parametrize("make", [NTXent, InfoNCE, DCL])
def test_options_are_checked(make: Callable[..., Objective]) -> None:
    with pytest.raises(ConfigError, match="sigma: found 0; allowed: a number above 0"):
        make(pos_weight="neg_vmf", sigma=0)
    with pytest.raises(ConfigError, match="pos_weight: found 'other'; allowed: None or 'neg_vmf'"):
        make(pos_weight="other")
    with pytest.raises(ShapeError, match="negatives: found in_batch=False and no queue"):
        make(in_batch=False)(draw(2, 3))


@each
@pytest.mark.parametrize("size", [8, 300])
def test_autocast_changes_nothing(name: str, size: int) -> None:
    """Inside bf16 training loss and gradients are those of float32, on the short way and on the long one."""
    found = []
    for enabled in (False, True):
        views = [view.detach().float().requires_grad_() for view in draw(2, size, 16)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = MAKE[name]().float()(views, torch.arange(size)).loss
        found.append((loss.detach(), *torch.autograd.grad(loss, views)))
    assert found[1][0].dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_an_anchor_without_a_negative_in_batch_or_queue_takes_no_gradient() -> None:
    """Everything is of its own content: its term is 0, and the gradient a number."""
    ids = torch.tensor([1, 1, 1])
    for objective in (InfoNCE(0.2), NTXent(0.2), DCL(0.2)):
        views = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        result = objective(views, ids, torch.randn(2, 4), torch.tensor([1, 1]))
        result.loss.backward()
        assert result.loss == 0
        assert not any(view.grad.any() for view in views)


@pytest.mark.parametrize("make", [InfoNCE, NTXent, DCL, CACR, MoCHi, FeatureTransform])
def test_with_a_queue_only_its_rows_are_negatives_unless_told_otherwise(make: type[Objective]) -> None:
    """So that ``vision/moco --method.objective X`` compares what MoCo's own InfoNCE compares."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    queue = torch.randn(9, 4, generator=generator, dtype=torch.float64)

    def loss(views: list[Tensor], **settings: bool) -> float:
        torch.manual_seed(0)
        return float(make(**settings)(views, negatives=queue).loss)

    assert loss(views) == loss(views, symmetric=False, in_batch=False)
    assert loss(views) != loss(views, symmetric=False, in_batch=True)
    one = [torch.cat([view[:1], view[:1]]) for view in views]
    assert loss(views) != loss(one)
    torch.manual_seed(0)
    without = make()(views).loss
    torch.manual_seed(0)
    assert torch.equal(without, make(symmetric=True, in_batch=True)(views).loss)
