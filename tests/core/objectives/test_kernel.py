"""The tiled log-sum-exp against the dense formula in float64, by tile size, rule, weight, side and dtype."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import _tiles
from counterpoint.objectives.kernel import Cycle, Pairs, logsumexp, logsumexp_both, softplus_sum

pytestmark = pytest.mark.unit

NEVER = -1e300  # a logit that counts for nothing and, unlike -inf, leaves the reference's gradient free of NaN
TILES = [None, 1, 3, 4, 7, 100]
SCALES = [0.7, 10.0, 400.0]  # the last leaves the range where plain exponentials are safe


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def whole(high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def leaf(rows: Tensor) -> Tensor:
    return rows.clone().requires_grad_()


def compare(ours: list[Tensor], dense: list[Tensor], leaves: list[Tensor], tolerance: float = 1e-9) -> None:
    """Values, then gradients of a random combination of them, relative to the largest."""
    for mine, theirs in zip(ours, dense, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    mix = [draw(*value.shape, seed=9 + n) for n, value in enumerate(dense)]
    mine = torch.autograd.grad(sum((m * v).sum() for m, v in zip(mix, ours)), leaves)
    theirs = torch.autograd.grad(sum((m * v).sum() for m, v in zip(mix, dense)), leaves, retain_graph=True)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(b.abs().max())))


@pytest.fixture(params=["compared", "listed"])
def left_out_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to leave pairs out: comparing keys, and the list of the few."""
    monkeypatch.setattr(_tiles, "LISTED", 0 if request.param == "listed" else 1 << 60)
    return str(request.param)


def allowed(pairs: Pairs, count: str) -> Tensor:
    """The dense mask that the rule means."""
    ids = pairs.ids[0][:, None] == pairs.ids[1]
    mask = torch.ones_like(ids)
    if count == "negatives":
        mask &= ~ids
    elif count == "positives":
        mask &= ids
    if pairs.rows is not None:
        mask &= pairs.rows[0][:, None] != pairs.rows[1]
    if pairs.groups is not None:
        mask &= pairs.groups[0][:, None] == pairs.groups[1]
    return mask


def rule(n: int, m: int) -> Pairs:
    ids = (whole(5, n, seed=1), whole(5, m, seed=2))
    rows = (whole(9, n, seed=3), whole(9, m, seed=4))
    return Pairs(ids, rows, (whole(2, n, seed=5), whole(2, m, seed=6)))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.usefixtures("left_out_by")
def test_one_side_equals_the_dense_formula(tile: int | None, scale: float) -> None:
    a, c, s = leaf(draw(10, 3)), leaf(draw(13, 3, seed=1)), leaf(torch.tensor(scale, dtype=torch.float64))
    pairs = Pairs(ids=(whole(5, 10, seed=1), whole(5, 13, seed=2)))
    logits = (s * a @ c.t()).masked_fill(~allowed(pairs, "negatives"), NEVER)
    compare([logsumexp(a, c, s, pairs=pairs, tile=tile)], [logits.logsumexp(1)], [a, c, s])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.usefixtures("left_out_by")
def test_two_sides_equal_the_dense_formula(tile: int | None, scale: float) -> None:
    a, c, s = leaf(draw(10, 3)), leaf(draw(13, 3, seed=1)), leaf(torch.tensor(scale, dtype=torch.float64))
    pairs = Pairs(ids=(whole(5, 10, seed=1), whole(5, 13, seed=2)))
    logits = (s * a @ c.t()).masked_fill(~allowed(pairs, "negatives"), NEVER)
    ours = logsumexp_both(a, c, s, pairs=pairs, tile=tile)
    compare(list(ours), [logits.logsumexp(1), logits.logsumexp(0)], [a, c, s])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.usefixtures("left_out_by")
def test_the_triangle_equals_the_whole_square(tile: int | None, scale: float) -> None:
    a, s = leaf(draw(11, 3)), leaf(torch.tensor(scale, dtype=torch.float64))
    ids = whole(6, 11, seed=1)
    logits = (s * a @ a.t()).masked_fill(ids[:, None] == ids, NEVER)
    compare([logsumexp(a, None, s, pairs=Pairs(ids=(ids, ids)), tile=tile)], [logits.logsumexp(1)], [a, s])


@pytest.mark.parametrize("count", ["negatives", "positives", "all"])
@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.usefixtures("left_out_by")
def test_ids_rows_and_groups_decide_who_counts(tile: int | None, count: str) -> None:
    a, c = leaf(draw(10, 3)), leaf(draw(14, 3, seed=1))
    pairs = rule(10, 14)
    mask = allowed(pairs, count)
    some = mask.any(1)
    assert 0 < mask.float().mean() < 1
    ours = logsumexp(a, c, 2.0, pairs=pairs, count=count, tile=tile)  # type: ignore[arg-type]
    assert torch.equal(ours == -torch.inf, ~some)
    compare([ours[some]], [(2.0 * a @ c.t()).masked_fill(~mask, NEVER).logsumexp(1)[some]], [a, c])


@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_an_anchor_without_candidates_is_minus_infinity_and_passes_no_gradient(tile: int | None, scale: float) -> None:
    a, c = leaf(draw(3, 2)), leaf(draw(4, 2, seed=1))
    ids = torch.tensor([7, 1, 2]), torch.tensor([7, 7, 7, 7])
    ours = logsumexp(a, c, scale, pairs=Pairs(ids=ids), tile=tile)
    assert ours[0] == -torch.inf and ours[1:].isfinite().all()
    (3.0 * ours[0]).backward()
    assert torch.equal(a.grad, torch.zeros_like(a)) and torch.equal(c.grad, torch.zeros_like(c))


@pytest.mark.parametrize("tile", [None, 3])
def test_cycles_are_their_tensors(tile: int | None) -> None:
    a, c = draw(6, 3), draw(12, 3, seed=1)
    cycle, whole_cycle = Cycle(2, 3), Cycle(0, 6)
    tensors = Pairs(ids=(torch.tensor([2, 3, 4] * 2), torch.arange(6).repeat(2)))
    assert torch.equal(cycle.tensor(6, a.device), tensors.ids[0])
    ours = logsumexp(a, c, pairs=Pairs(ids=(cycle, whole_cycle)), tile=tile)
    torch.testing.assert_close(ours, logsumexp(a, c, pairs=tensors, tile=tile), rtol=1e-12, atol=0)


@pytest.mark.parametrize("tile", [None, 3])
def test_candidates_without_gradient_take_the_short_way_to_the_same_gradient(tile: int | None) -> None:
    a, c, s = leaf(draw(7, 3)), leaf(draw(8, 3, seed=1)), leaf(torch.tensor(2.0, dtype=torch.float64))
    short = torch.autograd.grad(logsumexp(a, c.detach(), s, tile=tile).square().sum(), [a, s])
    long = torch.autograd.grad(logsumexp(a, c, s, tile=tile).square().sum(), [a, s])
    torch.testing.assert_close(short, long, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("tile", [None, 1, 3])
def test_weights_by_candidate_and_by_pair(tile: int | None) -> None:
    a, c = leaf(draw(5, 3)), leaf(draw(7, 3, seed=1))
    by_candidate, by_pair = draw(7, seed=3), draw(5, 7, seed=4)
    by_candidate[2] = -torch.inf
    logits = 3.0 * a @ c.t()
    dense = (logits + by_candidate.clamp(min=NEVER)).logsumexp(1)
    compare([logsumexp(a, c, 3.0, log_weight=by_candidate, tile=tile)], [dense], [a, c])

    def pair(i: Tensor, j: Tensor) -> Tensor:
        return by_pair[i][:, j]

    compare([logsumexp(a, c, 3.0, log_weight=pair, tile=tile)], [(logits + by_pair).logsumexp(1)], [a, c])
    both = logsumexp_both(a, c, 3.0, log_weight=pair, tile=tile)
    compare(list(both), [(logits + by_pair).logsumexp(1), (logits + by_pair).logsumexp(0)], [a, c])
    square = (3.0 * a @ a.t() + by_pair[:, :5]).logsumexp(1)
    compare([logsumexp(a, None, 3.0, log_weight=pair, tile=tile)], [square], [a])


@pytest.mark.parametrize("bias", [-3.0, 200.0])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.usefixtures("left_out_by")
def test_softplus_sum_equals_the_dense_formula(tile: int | None, bias: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoint.objectives._softplus._FEW", 2)
    a, c = leaf(draw(10, 3)), leaf(draw(13, 3, seed=1))
    s, b = leaf(torch.tensor(2.0, dtype=torch.float64)), leaf(torch.tensor(bias, dtype=torch.float64))
    pairs = Pairs(ids=(whole(5, 10, seed=1), whole(5, 13, seed=2)))
    logits = (s * a @ c.t() + b).masked_fill(~allowed(pairs, "negatives"), NEVER)
    dense = torch.logaddexp(torch.zeros_like(logits), logits).sum()
    compare([softplus_sum(a, c, s, b, pairs=pairs, tile=tile)], [dense], [a, c, s, b])


@pytest.mark.parametrize("tile", [None, 2])
def test_gradcheck(tile: int | None) -> None:
    a, c = leaf(draw(4, 2)), leaf(draw(5, 2, seed=1))
    s, b = leaf(torch.tensor(1.5, dtype=torch.float64)), leaf(torch.tensor(-0.5, dtype=torch.float64))
    pairs = Pairs(ids=(torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 2, 3, 0])))
    same = Pairs(rows=(torch.arange(4), torch.arange(4)))
    check = torch.autograd.gradcheck
    assert check(lambda a, c, s: logsumexp(a, c, s, pairs=pairs, tile=tile), (a, c, s))
    assert check(lambda a, c, s: logsumexp_both(a, c, s, pairs=pairs, tile=tile), (a, c, s))
    assert check(lambda a, s: logsumexp(a, None, s, pairs=same, count="all", tile=tile), (a, s))
    assert check(lambda a, s: logsumexp(a, None, 300.0 * s, pairs=same, count="all", tile=tile), (a, s), atol=1e-3)
    assert check(lambda a, c, s, b: softplus_sum(a, c, s, b, pairs=pairs, tile=tile), (a, c, s, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_comes_in_and_float32_goes_out(dtype: torch.dtype) -> None:
    a, c = leaf(draw(40, 8, dtype=dtype)), leaf(draw(30, 8, seed=1, dtype=dtype))
    ours = logsumexp(a, c, 2.0, tile=16)
    assert ours.dtype == torch.float32
    dense = (2.0 * a.double() @ c.double().t()).logsumexp(1)
    torch.testing.assert_close(ours.double(), dense, rtol=1e-6, atol=1e-6)
    mine = torch.autograd.grad(ours.sum(), [a, c])
    theirs = torch.autograd.grad(dense.sum(), [a, c])
    rounding = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]
    for x, y in zip(mine, theirs):
        assert x.dtype == dtype
        torch.testing.assert_close(x.double(), y.double(), rtol=rounding, atol=rounding)


def test_autocast_does_not_reach_in() -> None:
    a, c = draw(9, 4, dtype=torch.float32), draw(8, 4, seed=1, dtype=torch.float32)
    plain = logsumexp(a, c), softplus_sum(a, c)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = logsumexp(a, c), softplus_sum(a, c)
    assert torch.equal(plain[0], inside[0]) and torch.equal(plain[1], inside[1])


@pytest.mark.parametrize("scale", [2.0, 200.0])
@pytest.mark.parametrize(("whole", "side", "tile"), [(1 << 22, 512, None), (40, 3, None), (5, 2, None), (40, 3, 4)])
def test_who_watches_sees_whole_rows(
    whole: int, side: int, tile: int | None, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiles, "WHOLE", whole)
    monkeypatch.setattr(_tiles, "CPU_TILE", side)
    generator = torch.Generator().manual_seed(0)
    anchors, candidates = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (7, 13))
    anchors.requires_grad_()
    keys = torch.arange(7) % 3, torch.arange(13) % 3
    seen = torch.full((7, 13), torch.nan, dtype=torch.float64)

    def watch(block: Tensor, rows: slice) -> None:
        seen[rows] = block

    found = logsumexp(anchors, candidates, scale, pairs=Pairs(ids=keys), tile=tile, watch=watch)
    logits = scale * anchors @ candidates.t()
    logits = logits.masked_fill(keys[0][:, None] == keys[1], -torch.inf)
    torch.testing.assert_close(seen / math.log2(math.e), logits.detach())
    torch.testing.assert_close(found, logits.logsumexp(dim=1))
    gradients = (torch.autograd.grad(value.sum(), anchors)[0] for value in (found, logits.logsumexp(dim=1)))
    torch.testing.assert_close(*gradients)


def test_a_forward_can_be_walked_back_twice() -> None:
    a, c = leaf(draw(5, 3)), leaf(draw(6, 3, seed=1))
    value = logsumexp(a, c).sum()
    once = torch.autograd.grad(value, [a, c], retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(value, [a, c]), once, rtol=0, atol=0)


def test_memory_does_not_hold_the_matrix() -> None:
    """20 000 x 20 000 would be 1.5 GiB; what lives between forward and backward is a few times N x D."""
    a = leaf(draw(2500, 4, dtype=torch.float32))
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        logsumexp(a, None).sum()
        logsumexp_both(a, a * 2.0)
    assert max(held) <= a.numel()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 1000), st.floats(0.1, 300.0))
def test_tiles_never_change_the_value(n: int, m: int, tile: int, seed: int, scale: float) -> None:
    a, c = draw(n, 3, seed=seed), draw(m, 3, seed=seed + 1)
    pairs = Pairs(ids=(whole(3, n, seed=seed), whole(3, m, seed=seed + 2)))
    once, tiled = logsumexp_both(a, c, scale, pairs=pairs), logsumexp_both(a, c, scale, pairs=pairs, tile=tile)
    torch.testing.assert_close(once, tiled, rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(once[0], logsumexp(a, c, scale, pairs=pairs, tile=tile), rtol=1e-11, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 1000))
def test_the_order_of_candidates_does_not_matter(m: int, seed: int) -> None:
    a, c = draw(4, 3, seed=seed), draw(m, 3, seed=seed + 1)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(logsumexp(a, c, tile=3), logsumexp(a, c[order], tile=3), rtol=1e-12, atol=1e-12)


def refused(error: type[Exception], text: str, *args: object, **kwargs: object) -> None:
    with pytest.raises(error, match=re.escape(text)):
        logsumexp(*args, **kwargs)  # type: ignore[arg-type]


def test_refusals_name_things() -> None:
    a, c = draw(3, 2), draw(4, 2)
    three, four = torch.arange(3), torch.arange(4)
    refused(ShapeError, "anchors: found torch.float64 (3,); allowed: floating point (rows, dimensions).", a[:, 0], c)
    refused(ShapeError, "candidates: found torch.int64 (4, 2); allowed: floating point", a, c.long())
    refused(ShapeError, "width of anchors and candidates: found 2 and 3; allowed: the same.", a, draw(4, 3))
    short = "pairs, keys of candidates: found torch.int64 (3,); allowed: int64 (4,)."
    refused(ShapeError, short, a, c, pairs=Pairs(ids=(three, three)))
    floats = "pairs, keys of anchors: found torch.float32 (3,); allowed: int64 (3,)."
    refused(ShapeError, floats, a, c, pairs=Pairs(ids=(torch.zeros(3), four)))
    refused(ShapeError, "allowed: a period that divides 3.", a, c, pairs=Pairs(ids=(Cycle(0, 2), Cycle(0, 4))))
    refused(ShapeError, "anchor keys that candidates have", a, c, pairs=Pairs(ids=(Cycle(2, 3), Cycle(0, 4))))
    wrong = "log_weight: found (3,); allowed: (4,) or a function of the pair."
    refused(ShapeError, wrong, a, c, log_weight=torch.zeros(3))
    refused(ConfigError, "tile: found 0; allowed: at least 1.", a, c, tile=0)
    some = "count: found 'some'; allowed: 'negatives', 'positives' or 'all'."
    refused(ConfigError, some, a, c, pairs=Pairs(), count="some")
    with pytest.raises(ConfigError, match="log_weight: found a tensor; allowed: a function of the pair"):
        logsumexp_both(a, c, log_weight=torch.zeros(4))  # type: ignore[arg-type]
