"""SupReMix against mixtures that are really formed, and what the card of its paper says must hold."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import SupReMix, _positives, _tiles, nt_xent_loss, sup_con_loss, sup_re_mix_loss, supremix
from counterpoint.objectives._ordinal import Neighbours, levels, magnified
from learners import HELD_OUT, TRAIN, digits

pytestmark = pytest.mark.unit

T = 0.4
NAN = math.nan
TARGETS = [3.0, 1.0, 4.0, 2.5, 3.0]
PLAIN: dict[str, Any] = {"mix_negatives": False, "mix_positives": False, "weights": "none"}


def draw(views: int, size: int, width: int = 4) -> Tensor:
    rows = torch.randn(views + 1, size, width, generator=torch.Generator().manual_seed(views), dtype=torch.float64)
    return (rows[1:] + rows[0]).requires_grad_()


def shares(count: int) -> Tensor:
    return torch.rand(count, count, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def dense(
    rows: Tensor,
    targets: list[float],
    share: Tensor,
    window: float = 1.7,
    kind: str = "L1",
    negatives: bool = True,
    positives: bool = True,
) -> Tensor:
    """Every mixture formed, every anchor by itself."""
    z = F.normalize(rows.reshape(-1, rows.shape[2]))
    y = targets * len(rows)
    fixed = z.detach()
    terms = []
    for a, anchor in enumerate(z):
        candidates, found = [], []  # (logit, weight); logits of positives
        for b, row in enumerate(z):
            if b == a:
                continue
            same = y[a] == y[b]
            candidates.append((anchor @ row / T, 1.0 if math.isnan(y[a] - y[b]) else weight(y[a] - y[b], kind)))
            found += [candidates[-1][0]] if same or (math.isnan(y[a]) and b % len(targets) == a % len(targets)) else []
            if negatives and not same and not math.isnan(y[a] - y[b]):
                mixed = share[a, b] * fixed[a] + (1 - share[a, b]) * fixed[b]
                label = share[a, b] * y[a] + (1 - share[a, b]) * y[b]
                candidates.append((anchor @ mixed / T, weight(label - y[a], kind)))
        for j, k in itertools.product(range(len(y)), repeat=2) if positives else ():
            if y[j] < y[a] < y[k] and y[a] - y[j] < window and y[k] - y[a] < window:
                own = (y[k] - y[a]) / (y[k] - y[j])
                candidates.append((anchor @ (own * fixed[j] + (1 - own) * fixed[k]) / T, 1.0))
                found.append(candidates[-1][0])
        if found:
            logits, weights = zip(*candidates)
            total = (
                (torch.stack(logits).exp() * torch.tensor([float(w) for w in weights], dtype=torch.float64)).sum().log()
            )
            terms.append(total - torch.stack(found).mean())
    return torch.stack(terms).mean()


def weight(distance: float, kind: str) -> float:
    return 1.0 if kind == "none" else 1 + (abs(distance) if kind == "L1" else distance**2)


CASES: dict[str, tuple[list[float], dict[str, Any]]] = {
    "all": (TARGETS, {}),
    "squares": (TARGETS, {"kind": "L2"}),
    "negatives": (TARGETS, {"positives": False}),
    "positives, no weights": (TARGETS, {"negatives": False, "kind": "none"}),
    "weights": (TARGETS, {"negatives": False, "positives": False}),
    "some unknown": ([3.0, NAN, 4.0, 2.5, NAN], {}),
    "all equal": ([2.0] * 5, {}),
}


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_the_formula(case: str, views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, options = CASES[case]
    rows, share = draw(views, 5), shares(5 * views)
    expected = dense(rows, targets, share, **options)
    call = partial(
        sup_re_mix_loss,
        targets=torch.tensor(targets, dtype=torch.float64),
        temperature=T,
        window=1.7,
        weights=options.get("kind", "L1"),
        mix_negatives=options.get("negatives", True),
        mix_positives=options.get("positives", True),
        max_triples=0,
        shares=share,
    )
    for block in (1 << 20, 70):
        monkeypatch.setattr(_tiles, "CPU_BLOCK", block)
        ours = call(list(rows)).loss
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
        mine, theirs = (torch.autograd.grad(loss, rows, retain_graph=True)[0] for loss in (ours, expected))
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_gradients_of_rows_and_temperature_are_those_of_the_value() -> None:
    """Without mixtures: theirs is stopped, which differences would not see."""
    targets = torch.tensor([3.0, 1.0, 3.0])

    def loss(a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
        call = partial(sup_re_mix_loss, targets=targets, mix_negatives=False, mix_positives=False)
        return call([a, b], temperature=temperature).loss

    a, b = (row.detach().clone().requires_grad_() for row in draw(2, 3))
    assert torch.autograd.gradcheck(loss, (a, b, torch.tensor(0.5, dtype=torch.float64, requires_grad=True)))


def test_without_mixtures_and_weights_it_is_supervised_contrast() -> None:
    rows, targets = list(draw(2, 6)), torch.tensor([20.0, 31.0, 20.0, NAN, 31.0, 5.0])
    labels = torch.tensor([0, 1, 0, -1, 1, 2])
    ids = torch.tensor([9, 8, 7, 9, 6, 5])  # the unknown one is a copy of the first
    for known in (None, ids):
        ours = sup_re_mix_loss(rows, known, targets=targets, temperature=T, **PLAIN)
        expected = sup_con_loss(rows, known, labels=labels, temperature=T)
        torch.testing.assert_close(ours.loss, expected.loss, rtol=1e-11, atol=0)
        if known is None:
            torch.testing.assert_close(ours.parts["positive"], expected.parts["positive"])


def test_ties_only_between_views_is_nt_xent() -> None:
    rows = list(draw(2, 6))
    expected = nt_xent_loss(rows, temperature=T)
    for targets in (None, torch.arange(6.0), torch.full((6,), NAN)):
        ours = sup_re_mix_loss(rows, targets=targets, temperature=T, **PLAIN)
        torch.testing.assert_close(ours.loss, expected.loss, rtol=1e-11, atol=0)
        for name in ("positive", "p_positive"):
            torch.testing.assert_close(ours.parts[name], expected.parts[name].detach(), rtol=1e-9, atol=0)
    assert SupReMix(T, **PLAIN).chance(6) == pytest.approx(math.log(11))
    assert SupReMix(T).chance(6) is None


def test_triples_are_all_and_only_those_on_either_side_within_the_window() -> None:
    values = torch.tensor([3.0, 1.0, NAN, 4.0, 2.5, 3.0, 8.0, 5.0], dtype=torch.float64)
    found = Neighbours(values, 2.0).triples(values, 0)
    for a, target in enumerate(values.tolist()):
        there = found.times[a] > 0
        pairs = {*zip(found.below[a, there].tolist(), found.above[a, there].tolist())}
        expected = {
            (j, k)
            for j, k in itertools.product(range(8), repeat=2)
            if values[j] < target < values[k] and target - values[j] < 2 and values[k] - target < 2
        }
        assert pairs == expected and len(pairs) == int(there.sum())
    assert not found.times[[1, 2, 6]].any(), "none for the ends, for the lonely, and for the unknown"
    there = found.times > 0
    mixed = torch.lerp(values[found.above], values[found.below], found.share)
    torch.testing.assert_close(mixed[there], values[:, None].expand_as(mixed)[there])
    assert found.share[there].min() > 0 and found.share[there].max() < 1
    assert (found.times[there] == 1).all()


def test_a_few_triples_stand_for_all() -> None:
    """Each is as likely as any other: the mean over draws of a weighted sum is the sum over all."""
    torch.manual_seed(0)
    values = torch.arange(9.0)
    neighbours = Neighbours(values, 5.0)
    whole = neighbours.triples(values[4:5], 0)
    assert len(whole.below[0]) == 16
    score = torch.randn(9, 9)
    sums = []
    for _ in range(600):
        few = neighbours.triples(values[3:6], 5)
        assert few.below.shape == (3, 5)
        assert len({*zip(few.below[1].tolist(), few.above[1].tolist())}) >= 3
        torch.testing.assert_close(few.times.sum(1), torch.tensor([12.0, 16.0, 12.0]))
        sums.append((few.times * score[few.below, few.above])[1].sum())
    found = torch.stack(sums)
    expected = score[whole.below, whole.above].sum()
    assert abs(found.mean() - expected) < 4 * found.std() / len(found) ** 0.5


def test_weights_of_mixed_negatives_follow_their_label() -> None:
    share, distance = torch.tensor(0.3), torch.tensor([-4.0, 2.0, NAN])
    torch.testing.assert_close(magnified(0.7 * distance, "L1").exp(), torch.tensor([3.8, 2.4, 1.0]))
    torch.testing.assert_close(magnified((1 - share) * distance, "L2").exp(), torch.tensor([1 + 7.84, 1 + 1.96, 1.0]))
    assert not magnified(distance, "none").any()


def test_parents_learn_nothing_from_mixtures() -> None:
    """A sample of unknown target is left out of all weights; what mixtures add is seen by the anchor alone."""
    rows, share = draw(1, 3), torch.full((3, 3), 0.3, dtype=torch.float64)
    call = partial(sup_re_mix_loss, targets=torch.tensor([1.0, 2.0, 3.0]), temperature=T, window=5.0, shares=share)
    ours = call(list(rows), mix_negatives=False).loss
    z = F.normalize(rows[0])
    mixed = (z[0] + z[2]).detach() / 2  # the one mixed positive: of the sample in the middle
    denominator = 2 * (z[1] @ z[0] / T).exp() + 2 * (z[1] @ z[2] / T).exp() + (z[1] @ mixed / T).exp()
    expected = denominator.log() - z[1] @ mixed / T
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, rows, retain_graph=True)[0] for loss in (ours, expected)))


def test_targets_may_be_shifted_and_turned_but_not_stretched() -> None:
    rows, targets = list(draw(2, 6)), torch.tensor([3.0, 1.0, 4.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    call = partial(sup_re_mix_loss, rows, temperature=T, window=2.5, max_triples=0, shares=shares(12))
    expected = call(targets=targets).loss
    for same in (targets + 17, -targets):
        torch.testing.assert_close(call(targets=same).loss, expected, rtol=1e-11, atol=0)
    assert (call(targets=2 * targets).loss - expected).abs() > 0.01


def test_mixed_positives_of_a_straight_line_are_true_samples() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    line = values[:, None] * torch.randn(3, dtype=torch.float64) + torch.randn(3, dtype=torch.float64)
    found = Neighbours(values, 9.0).triples(values, 0)
    mixed = torch.lerp(line[found.above], line[found.below], found.share[:, :, None])
    there = found.times > 0
    torch.testing.assert_close(mixed[there], line[:, None].expand_as(mixed)[there])


def test_farther_targets_are_pushed_harder() -> None:
    rows = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1).requires_grad_()
    targets = torch.tensor([0.0, 1.0, 5.0])
    loss = sup_re_mix_loss(list(rows), targets=targets, mix_negatives=False, mix_positives=False).loss
    anchor = torch.autograd.grad(loss, rows)[0][0, 0]
    assert anchor[2] > 2 * anchor[1] > 0


def test_targets_are_rounded_to_units() -> None:
    rows, real = list(draw(2, 5)), torch.tensor([2.24, 0.61, 2.16, 1.12, NAN])
    call = partial(sup_re_mix_loss, rows, temperature=T, window=8.0, max_triples=0, shares=shares(10))
    whole = torch.tensor([22.0, 6.0, 22.0, 11.0, NAN])
    torch.testing.assert_close(call(targets=real, unit=0.1).loss, call(targets=whole).loss, rtol=1e-12, atol=0)
    values, classes = levels(real, 0.1, None, rows[0], 5)
    assert values.tolist()[:4] == (whole - 6).tolist()[:4] and classes[0] == classes[2] and len(classes.unique()) == 4


def test_a_copy_is_never_a_negative() -> None:
    """With the one other sample a copy of unknown target, moving it away must not lower the loss."""
    rows = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1).requires_grad_()
    call = partial(sup_re_mix_loss, list(rows), targets=torch.tensor([4.0, NAN]))
    apart = torch.autograd.grad(call().loss, rows)[0][0, 0, 1]
    copy = torch.autograd.grad(call(ids=torch.tensor([5, 5])).loss, rows)[0][0, 0, 1]
    assert apart > 1e-3 and copy < 1e-9


def test_one_view_of_targets_without_ties_learns_from_mixtures_alone() -> None:
    rows, targets = draw(1, 6), torch.tensor([3.0, 1.0, 4.0, 2.0, 5.0, 6.0])
    assert SupReMix()(list(rows), targets=targets).loss > 0
    nothing = SupReMix(mix_positives=False)(list(rows), targets=targets)
    assert nothing.loss == 0 and torch.autograd.grad(nothing.loss, rows)[0].abs().max() == 0


def test_zero_rows_are_finite_and_get_no_gradient() -> None:
    rows = draw(2, 5)
    with torch.no_grad():
        rows[0, 2] = 0.0
    gradient = torch.autograd.grad(SupReMix()(list(rows), targets=torch.tensor(TARGETS)).loss, rows)[0]
    assert gradient.isfinite().all() and not gradient[0, 2].any()


def test_what_does_not_fit_is_named() -> None:
    rows = list(draw(2, 5))
    with pytest.raises(ShapeError, match=r"targets: found torch.int64 \(5,\); allowed: floating point \(5,\)"):
        SupReMix()(rows, targets=torch.arange(5))
    with pytest.raises(ShapeError, match=r"targets: found torch.float32 \(4,\); allowed: floating point \(5,\)"):
        SupReMix()(rows, targets=torch.zeros(4))
    with pytest.raises(ShapeError, match="targets: found 2 infinite; allowed: finite numbers, or NaN for unknown"):
        SupReMix()(rows, targets=torch.tensor([1.0, math.inf, 2.0, -math.inf, 3.0]))
    with pytest.raises(ShapeError, match="embeddings: found 0 view"):
        SupReMix()([])
    rows[1] = rows[1].detach().index_fill(0, torch.tensor([0, 3]), NAN)
    with pytest.raises(ShapeError, match=r"embeddings\[1\]: found NaN or infinity in 2 row\(s\): 0, 3;"):
        SupReMix()(rows, targets=torch.tensor(TARGETS))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0.0}, "temperature: found 0.0; allowed: a number above 0"),
        ({"window": 0.0}, "window: found 0.0; allowed: a number above 0"),
        ({"beta": (2.0, 0.0)}, "beta: found 0.0; allowed: a number above 0"),
        ({"weights": "L3"}, "weights: found 'L3'; allowed: 'none' or 'L1' or 'L2'"),
        ({"max_triples": -1}, "max_triples: found -1; allowed: a whole number from 0"),
        ({"unit": 0.0}, "unit: found 0.0; allowed: a number above 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        SupReMix(**options)


def test_float32_bfloat16_and_autocast_agree_with_float64() -> None:
    rows, targets, share = draw(2, 30, 16), torch.arange(30.0) // 3, shares(60)
    call = partial(sup_re_mix_loss, targets=targets, temperature=T, shares=share, max_triples=0)
    exact = call(list(rows)).loss.double()
    for dtype, cast, tolerance in (
        (torch.float32, False, 2e-6),
        (torch.float32, True, 2e-6),
        (torch.bfloat16, False, 3e-2),
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
            loss = call(list(rows.to(dtype))).loss
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), exact, rtol=tolerance, atol=0)


def test_a_learnable_temperature_learns() -> None:
    objective = SupReMix(learnable_temperature=True)
    result = objective(list(draw(2, 5).detach().float()), targets=torch.tensor(TARGETS))
    result.loss.backward()
    assert objective.temperature.log_scale is not None and objective.temperature.log_scale.grad.abs() > 0
    assert float(result.parts["temperature"]) == pytest.approx(0.3)


def test_it_orders_real_digits_by_their_number() -> None:
    """Trained for 80 steps with the digit as target: a line through the held-out features tells the number."""
    images, labels = digits()
    images, targets = images[:, None], labels.float()

    def correlation(trained: bool) -> float:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        objective, optimizer = SupReMix(temperature=0.2, window=3.0), torch.optim.Adam(net.parameters(), lr=3e-3)
        for step in range(80 if trained else 0):
            index = torch.randint(TRAIN.stop, (64,), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            objective([net(images[index])], targets=targets[index]).loss.backward()
            optimizer.step()
        with torch.no_grad():
            features = F.normalize(net(images[HELD_OUT]))
            apart = 1 - features @ features.T
            distance = (targets[HELD_OUT][:, None] - targets[HELD_OUT]).abs()
            return torch.corrcoef(torch.stack([apart.flatten(), distance.flatten()]))[0, 1].item()

    assert correlation(trained=True) > 0.5 > 0.3 > correlation(trained=False)


def test_the_anchors_share_is_drawn_from_beta_with_a_mean_of_a_fifth() -> None:
    """Whoever draws the other parent's share instead gets mixtures that are nearly the anchor itself."""
    rows, drawn = draw(1, 16), []
    for seed in range(30):
        torch.manual_seed(seed)
        drawn.append(sup_re_mix_loss(rows, targets=torch.arange(16.0) // 2, temperature=T, mix_positives=False).loss)
    generator = torch.Generator().manual_seed(0)

    def mean(a: float, b: float) -> Tensor:
        x, y = (torch._standard_gamma(torch.full((30, 16, 16), n, dtype=torch.float64), generator) for n in (a, b))
        own = x / (x + y)
        words = {"targets": torch.arange(16.0) // 2, "temperature": T, "mix_positives": False}
        return torch.stack([sup_re_mix_loss(rows, **words, shares=one).loss for one in own]).mean()

    wanted, other = mean(2.0, 8.0), mean(8.0, 2.0)
    found = torch.stack(drawn).mean()
    assert abs(found - wanted) < 0.1 * abs(wanted - other)


def test_a_draw_of_triples_stands_for_all_of_them() -> None:
    rows, targets = draw(1, 24), torch.arange(24.0)
    words: dict[str, Any] = {"targets": targets, "temperature": T, "mix_negatives": False, "window": 9.0}
    every = sup_re_mix_loss(rows, **words, max_triples=0)
    for most in (8, 30):
        found = []
        for seed in range(40):
            torch.manual_seed(seed)
            found.append(sup_re_mix_loss(rows, **words, max_triples=most).loss)
        torch.testing.assert_close(torch.stack(found).mean(), every.loss, rtol=3e-3, atol=0)
    without = sup_re_mix_loss(rows, **{**words, "mix_positives": False, "targets": targets // 2}).loss
    assert (without - every.loss).abs() > 0.1 * every.loss


@pytest.mark.parametrize("shift", [17.0, 2e7, 1.7e9])
def test_only_differences_of_targets_count(shift: float) -> None:
    """Dates and time stamps are large numbers that differ by little."""
    rows, targets = list(draw(2, 6).float()), torch.arange(6.0, dtype=torch.float64)
    call = partial(sup_re_mix_loss, rows, temperature=T, max_triples=0, shares=shares(12))
    torch.testing.assert_close(call(targets=targets + shift).loss, call(targets=targets).loss)


def test_draws_are_the_same_when_a_block_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradient() -> Tensor:
        torch.manual_seed(0)
        rows = draw(1, 24)
        loss = sup_re_mix_loss(list(rows), targets=torch.arange(24.0), max_triples=8, window=9.0).loss
        return torch.autograd.grad(loss, rows)[0]

    monkeypatch.setattr(_tiles, "CPU_BLOCK", 200)
    again = gradient()
    monkeypatch.setattr(_positives, "checkpoint", lambda function, *inputs, use_reentrant: function(*inputs))
    torch.testing.assert_close(again, gradient())


def test_a_parent_of_mixtures_learns_nothing_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = lambda values, kind, i, j: torch.full((len(i), len(j)), -math.inf)  # noqa: E731 — no real pairs
    monkeypatch.setattr(supremix, "_log_weight", nothing)
    rows = draw(1, 3)
    targets, share = torch.tensor([1.0, 2.0, 3.0]), torch.full((3, 3), 0.3)
    loss = sup_re_mix_loss(list(rows), targets=targets, max_triples=0, shares=share).loss
    gradient = torch.autograd.grad(loss, rows)[0][0]
    assert gradient[1].abs().max() > 1e-6 and not gradient[[0, 2]].any()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"beta": 2.0}, "beta: found 2.0; allowed: two numbers above 0"),
        ({"beta": (2.0,)}, r"beta: found \(2.0,\); allowed: two numbers above 0"),
        ({"max_triples": 2.5}, "max_triples: found 2.5; allowed: a whole number from 0"),
        ({"window": None}, "window: found None; allowed: a number above 0"),
        ({"temperature": "0.1"}, "temperature: found 0.1; allowed: a number above 0"),
        ({"temperature": math.inf}, "temperature: found inf; allowed: a number from 1e-30 to below infinity"),
        ({"weights": "l1"}, "weights: found 'l1'; allowed: 'none' or 'L1' or 'L2'"),
    ],
)
def test_settings_of_another_kind_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SupReMix(**settings)


def test_shares_and_targets_that_do_not_fit_are_named() -> None:
    rows = list(draw(2, 3).float())
    with pytest.raises(ShapeError, match=r"shares: found \(3, 3\); allowed: \(6, 6\)"):
        sup_re_mix_loss(rows, targets=torch.arange(3.0), shares=shares(3))
    with pytest.raises(
        ShapeError, match="targets: found a range beyond float32; allowed: a smaller one, or a larger unit"
    ):
        sup_re_mix_loss(rows, targets=torch.arange(3.0), unit=1e-45)
    with pytest.raises(ShapeError, match=r"embeddings: found 1 sample; allowed: 2 or more over all ranks. Raise"):
        sup_re_mix_loss([rows[0][:1]], targets=torch.arange(1.0))
    assert SupReMix(**PLAIN).chance(0) is None
