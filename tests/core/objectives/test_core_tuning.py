"""Core-tuning against the formulas written out, sample by sample, and against what it reduces to."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.objectives import CoreTuning, _tiles, core_tuning, core_tuning_loss, sup_con_loss
from counterpoint.objectives._positives import WeightedContrast
from counterpoint.objectives.core_tuning import MixDraws
from learners import HELD_OUT, TRAIN, digits

pytestmark = pytest.mark.unit

T = 0.3
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])  # classes 2 and 3 have one sample each
W, P = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
classify, project = (lambda rows: rows @ W), (lambda rows: rows @ P)


def draw(size: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 5, generator=generator, dtype=torch.float64).requires_grad_()


def draws(size: int = 7) -> MixDraws:
    generator = torch.Generator().manual_seed(4)
    shares = torch.rand(2, size, generator=generator, dtype=torch.float64)
    return MixDraws((torch.arange(size) + 3) % size, 0.8 + shares[0] / 5, shares[1])


def mined(h: Tensor, labels: Tensor) -> tuple[list[int], list[int]]:
    """Least similar of the class, most similar of another class; the sample itself where there is none."""
    cosine = F.cosine_similarity(h[:, None], h[None], dim=2)
    others = [[j for j in range(len(h)) if labels[j] == labels[i] and j != i] for i in range(len(h))]
    apart = [[j for j in range(len(h)) if labels[j] != labels[i]] for i in range(len(h))]
    positive = [min(js, key=lambda j, i=i: float(cosine[i, j])) if js else i for i, js in enumerate(others)]
    negative = [max(js, key=lambda j, i=i: float(cosine[i, j])) if js else i for i, js in enumerate(apart)]
    return positive, negative


def mixtures(h: Tensor, labels: Tensor, drawn: MixDraws, classes: int = 4) -> tuple[Tensor, Tensor]:
    """All 3 B rows and their soft labels: samples, hard positives, semi-hard negatives."""
    p, n = mined(h.detach(), labels)
    one = F.one_hot(labels, classes).to(h)
    a, b = drawn.positive[:, None], drawn.negative[:, None]
    hard = a * h[p] + (1 - a) * h[n], a * one[p] + (1 - a) * one[n]
    semi = b * h[drawn.partner] + (1 - b) * h, b * one[drawn.partner] + (1 - b) * one
    return torch.cat([h, hard[0], semi[0]]), torch.cat([one, hard[1], semi[1]])


def dense(logits: Tensor, positive: Tensor, counted: Tensor, focal: bool, by_columns: bool) -> Tensor:
    """``(N, M)`` logits, who is a positive, who is in the denominator."""
    terms = []
    for row, positives, takes_part in zip(logits, positive, counted):
        log_p = row - row[takes_part].logsumexp(0)
        found = [-(1 - u.exp() if focal else 1) * u for u in log_p[positives]]
        if found:
            terms.append(sum(found) / (len(row) if by_columns else len(found)))
    return torch.stack(terms).mean()


def paper(h: Tensor, labels: Tensor, drawn: MixDraws | None, focal: bool, by_columns: bool) -> Tensor:
    size = len(h)
    rows = h if drawn is None else mixtures(h, labels, drawn)[0]
    v = F.normalize(project(rows))
    logits, eye = v[:size] @ v[:size].T / T, torch.eye(size, dtype=torch.bool)
    positive, counted = (labels[:, None] == labels) & ~eye, ~eye
    if drawn is not None:
        own = [(v[:size] * mixed).sum(1, keepdim=True) / T for mixed in v.chunk(3)[1:]]
        logits = torch.cat([logits, *own], 1)
        some = positive.any(1, keepdim=True)
        positive = torch.cat([positive, some, torch.zeros_like(some)], 1)
        counted = torch.cat([counted, some, (labels[drawn.partner] != labels)[:, None]], 1)
    return dense(logits, positive, counted, focal, by_columns)


def released(h: Tensor, labels: Tensor, drawn: MixDraws, focal: bool, by_columns: bool) -> Tensor:
    rows, soft = mixtures(h, labels, drawn)
    v = F.normalize(project(rows))
    eye = torch.eye(len(rows), dtype=torch.bool)
    equal = (soft[:, None] - soft).abs().amax(2) < 1e-12
    return dense(v @ v.T / T, equal & ~eye, ~eye, focal, by_columns)


def soft_cross_entropy(h: Tensor, labels: Tensor, drawn: MixDraws | None) -> Tensor:
    rows, soft = (h, F.one_hot(labels, 4).to(h)) if drawn is None else mixtures(h, labels, drawn)
    return F.cross_entropy(classify(rows), soft)


@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("focal", [False, True])
@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize("pairing", ["paper", "released"])
def test_value_and_gradient_are_the_formula(
    pairing: str, mixing: bool, focal: bool, by_columns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, drawn = draw(), draws() if mixing else None
    contrast = paper if pairing == "paper" or not mixing else released
    expected = soft_cross_entropy(h, LABELS, drawn) + 0.7 * contrast(h, LABELS, drawn, focal, by_columns)
    call = partial(core_tuning_loss, h, LABELS, classify, project, weight=0.7, temperature=T, mixing=mixing)
    options: dict[str, Any] = {"focal": focal, "mean_over": "candidates" if by_columns else "positives"}
    for block in (1 << 20, 30):  # one block of all anchors; then a few rows at a time
        monkeypatch.setattr(_tiles, "CPU_BLOCK", block)
        ours = call(pairing=pairing, draws=drawn, **options).loss
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
        mine, theirs = (torch.autograd.grad(loss, h, retain_graph=True)[0] for loss in (ours, expected))
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pairing", ["paper", "released"])
def test_gradients_are_those_of_the_value(pairing: str) -> None:
    call = partial(core_tuning_loss, temperature=T, pairing=pairing, draws=draws())
    heads = [W.clone().requires_grad_(), P.clone().requires_grad_()]

    def loss(h: Tensor, w: Tensor, p: Tensor) -> Tensor:
        return call(h, LABELS, lambda rows: rows @ w, lambda rows: rows @ p).loss

    assert torch.autograd.gradcheck(loss, (draw(), *heads))


def test_without_weight_and_mixing_it_is_cross_entropy() -> None:
    h = draw()
    ours = CoreTuning(weight=0, mixing=False)(h, LABELS, classify, project)
    expected = F.cross_entropy(classify(h), LABELS)
    torch.testing.assert_close(ours.loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, h)[0] for loss in (ours.loss, expected)))
    assert set(ours.parts) == {"cross_entropy", "accuracy"}
    assert float(ours.parts["accuracy"]) == pytest.approx((classify(h).argmax(1) == LABELS).double().mean())


def test_without_mixing_and_focus_it_is_supervised_contrast_of_two_views() -> None:
    """One batch of 2 B rows is B samples in two views."""
    rows, labels = draw(8), torch.tensor([0, 1, 0, 2]).repeat(2)
    result = CoreTuning(temperature=T, mixing=False, focal=False)(rows, labels, classify, project)
    views = [project(half) for half in rows.chunk(2)]
    expected = sup_con_loss(views, labels=labels[:4], temperature=T)
    torch.testing.assert_close(result.parts["contrast"], expected.loss.detach(), rtol=1e-11, atol=0)
    torch.testing.assert_close(result.parts["positive"], expected.parts["positive"].detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("logit", [-4.0, 0.0, 5.0])
def test_the_focal_weight_has_a_gradient(logit: float) -> None:
    """One pair with u = log p: d/du of -(1 - p) u is -(1 - p) + p u."""
    anchors = torch.tensor([[1.0, logit]], dtype=torch.float64, requires_grad=True)
    candidates = torch.tensor([[9.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)  # itself, positive, negative
    places, classes = torch.zeros(1, dtype=torch.int64), torch.tensor([0, 0, 1])
    terms = WeightedContrast(anchors, candidates, 1.0, places, classes, focal=True).terms()
    p = 1 / (1 + math.exp(-logit))
    u = math.log(p)
    assert terms.loss.item() == pytest.approx(-(1 - p) * u)
    du = 1 - p  # of u by the positive's logit
    slope = torch.autograd.grad(terms.loss.sum(), anchors)[0][0, 1].item()
    assert slope == pytest.approx((-(1 - p) + p * u) * du)
    assert terms.probability.item() == pytest.approx(p)


def test_shares_of_one_give_the_parents_back() -> None:
    ones = torch.ones(7, dtype=torch.float64)
    h, drawn = draw(), MixDraws(draws().partner, ones, ones)
    rows = core_tuning._rows(h, LABELS, drawn, False)
    p, _ = mined(h.detach(), LABELS)
    assert torch.equal(rows.features, torch.cat([h, h[p], h[drawn.partner]]))
    assert torch.equal(rows.pure, torch.cat([LABELS, LABELS[p], LABELS[drawn.partner]]))


def test_released_hard_positives_of_mixed_label_are_positives_of_nobody() -> None:
    h, drawn = draw(), draws()
    pure = core_tuning._rows(h, LABELS, drawn, False).pure
    assert torch.equal(pure[:7], LABELS)
    assert (pure[7:14] == -1).all()
    within = LABELS[drawn.partner] == LABELS
    assert torch.equal(pure[14:], torch.where(within, LABELS, -1))
    embeddings = F.normalize(project(core_tuning._rows(h, LABELS, drawn, False).features))
    terms = core_tuning._released(
        core_tuning._rows(h, LABELS, drawn, False), embeddings, 1 / T, LABELS, True, "positives"
    )
    assert not terms.valid[7:14].any()
    assert terms.valid[:7].tolist() == [True, True, True, False, True, True, False]


def test_partners_are_others_and_shares_are_clipped() -> None:
    torch.manual_seed(0)
    for size in (2, 3, 50):
        drawn = MixDraws.draw(size, 1.0, 0.8, torch.zeros(1))
        assert (drawn.partner != torch.arange(size)).all()
        assert sorted(drawn.partner.tolist()) == list(range(size))
        assert drawn.negative.min() >= 0.8
    assert drawn.positive.min() < 0.2


@pytest.mark.parametrize("pairing", ["paper", "released"])
def test_the_order_of_the_samples_does_not_matter(pairing: str) -> None:
    h, order, drawn = draw(), torch.tensor([3, 5, 0, 6, 1, 4, 2]), draws()
    back = order.argsort()
    moved = MixDraws(back[drawn.partner[order]], drawn.negative[order], drawn.positive[order])
    call = partial(core_tuning_loss, classify=classify, project=project, pairing=pairing)
    expected = call(h, LABELS, draws=drawn).loss
    torch.testing.assert_close(call(h[order], LABELS[order], draws=moved).loss, expected, rtol=1e-12, atol=0)


def test_originals_can_be_kept_from_the_encoder() -> None:
    h = draw()
    drawn = MixDraws(draws().partner, torch.ones(7).double(), torch.ones(7).double())
    call = partial(core_tuning_loss, h, LABELS, classify, weight=0, draws=drawn)
    gradient = torch.autograd.grad(call(detach_originals=True).loss, h)[0]
    p, _ = mined(h.detach(), LABELS)
    mixed = torch.cat([h[p], h[drawn.partner]])
    expected = F.cross_entropy(classify(mixed), LABELS[[*p, *drawn.partner.tolist()]]) * 2 / 3
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, h)[0])
    assert call(detach_originals=True).loss == call().loss


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_a_batch_of_one_class_or_without_pairs_is_finite(labels: list[int]) -> None:
    for pairing in ("paper", "released"):
        h = draw(4)
        result = CoreTuning(pairing=pairing)(h, torch.tensor(labels), classify, project)
        result.loss.backward()
        assert h.grad is not None and h.grad.isfinite().all()
    if len(set(labels)) == 4:
        assert CoreTuning()(draw(4), torch.tensor(labels), classify, project).parts["contrast"] == 0


def test_equal_rows_are_at_chance() -> None:
    size = 12
    h, labels = torch.ones(size, 5, dtype=torch.float64), torch.arange(size) % 2
    for options in ({}, {"focal": False}, {"mixing": False}, {"weight": 0}, {"pairing": "released", "mixing": False}):
        objective = CoreTuning(**{"weight": 0.5, **options})
        assert objective.chance(size) is None
        torch.manual_seed(0)
        draws_of = MixDraws((torch.arange(size) + 1) % size, *torch.full((2, size), 0.9, dtype=torch.float64))
        constant = lambda rows: rows @ torch.ones(5, 4, dtype=torch.float64)  # noqa: E731
        loss = core_tuning_loss(h, labels, constant, None, **{"weight": 0.5, **options}, draws=draws_of).loss
        objective(h, labels, constant)
        assert loss.item() == pytest.approx(objective.chance(size), rel=1e-9)
    assert CoreTuning(mean_over="candidates").chance(size) is None


def test_zero_rows_are_finite() -> None:
    h = draw()
    with torch.no_grad():
        h[2] = 0.0
    CoreTuning(mixing=False)(h, LABELS, classify, None).loss.backward()
    CoreTuning()(h, LABELS, classify, None).loss.backward()
    assert h.grad is not None and h.grad.isfinite().all()


def test_a_nan_row_is_named() -> None:
    h = draw()
    with torch.no_grad():
        h[4] = torch.nan
    with pytest.raises(ShapeError, match=r"features: found NaN or infinity in 1 row\(s\): 4; allowed: finite values"):
        CoreTuning()(h, LABELS, classify, project)


def test_autocast_changes_the_heads_and_not_the_objective() -> None:
    h = draw(32).detach().float().requires_grad_()
    labels, drawn = torch.arange(32) % 4, draws(32)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = core_tuning_loss(h, labels, lambda rows: rows[:, :4] * 2, None, draws=drawn).loss
        found.append((loss.detach(), torch.autograd.grad(loss, h)[0]))
        assert loss.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_inputs_are_checked() -> None:
    call = partial(core_tuning_loss, draw(), classify=classify, project=project)
    with pytest.raises(ShapeError, match=r"labels: found torch.int64 \(3,\); allowed: int64 \(7,\)"):
        call(torch.arange(3))
    with pytest.raises(ShapeError, match=r"labels: found 2 unknown \(below 0\); allowed: classes from 0"):
        call(torch.tensor([0, -1, 1, 2, -1, 1, 1]))
    with pytest.raises(ShapeError, match="labels: found 6; allowed: 0 to 3, as `classify` has it"):
        call(torch.arange(7))
    with pytest.raises(ShapeError, match="features: found 1 sample; allowed: 2 or more"):
        core_tuning_loss(draw(1), torch.zeros(1, dtype=torch.int64), classify)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight": -1.0}, "weight: found -1.0; allowed: a number of at least 0"),
        ({"temperature": 0.0}, "temperature: found 0.0; allowed: a number above 0"),
        ({"beta": 0.0}, "beta: found 0.0; allowed: a number above 0"),
        ({"least": 1.2}, r"least: found 1.2; allowed: a number in \[0, 1\]"),
        ({"pairing": "other"}, "pairing: found 'other'; allowed: 'paper' or 'released'"),
        ({"mean_over": "all"}, "mean_over: found 'all'; allowed: 'positives' or 'candidates'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        CoreTuning(**options)


def test_it_learns_classes_and_draws_each_together() -> None:
    """Real digits: trained for 150 steps, held-out classes are told apart, and are denser than cross-entropy's."""
    images, labels = digits()

    def trained(**options: Any) -> tuple[float, float]:
        torch.manual_seed(0)
        net, head, projector = nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 10), nn.Linear(64, 32)
        objective = CoreTuning(**options)
        learnt = [p for module in (net, head, projector) for p in module.parameters()]
        optimizer = torch.optim.Adam(learnt, lr=3e-3)
        for step in range(150):
            generator = torch.Generator().manual_seed(step)
            index = torch.randint(TRAIN.stop, (64,), generator=generator)
            optimizer.zero_grad()
            objective(net(images[index]), labels[index], head, projector).loss.backward()
            optimizer.step()
        with torch.no_grad():
            features = net(images[HELD_OUT])
            cosine = F.normalize(features) @ F.normalize(features).T
            same = labels[HELD_OUT][:, None] == labels[HELD_OUT]
            scatter = (1 - cosine[same].mean()) / (1 - cosine[~same].mean())
            return (head(features).argmax(1) == labels[HELD_OUT]).float().mean().item(), scatter.item()

    accuracy, scatter = trained(weight=1.0)
    assert accuracy > 0.9
    assert scatter < trained(weight=0.0, mixing=False)[1]


def test_the_module_hands_on_its_settings() -> None:
    words: dict[str, Any] = {
        "weight": 0.7,
        "temperature": 0.3,
        "beta": 0.4,
        "least": 0.5,
        "focal": False,
        "pairing": "released",
        "mean_over": "candidates",
        "detach_originals": True,
    }
    h, found = draw(), []
    for call in (CoreTuning(**words), partial(core_tuning_loss, **words)):
        torch.manual_seed(0)
        loss = call(h, LABELS, classify=classify, project=project).loss
        found.append((loss.detach(), torch.autograd.grad(loss, h)[0]))
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_mixtures_of_two_classes_are_nobodys_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the released pairing: rows 7 to 13 are hard positives, mixed of two classes here."""
    seen: list[Tensor] = []
    terms = WeightedContrast._terms

    def noted(self: WeightedContrast, *inputs: Any) -> Any:
        seen.append(self.classes)
        return terms(self, *inputs)

    monkeypatch.setattr(WeightedContrast, "_terms", noted)
    core_tuning_loss(draw(), LABELS, classify, project, temperature=T, pairing="released", draws=draws())
    classes = seen[0]
    mixed = classes[7:14][torch.tensor(mined(draw().detach(), LABELS)[0]) != torch.arange(7)]
    assert len(mixed) == 5 and all(int((classes == one).sum()) == 1 for one in mixed)


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        ((lambda rows: rows[:, 0], project), r"classify: found output of shape \(21,\); allowed: \(21, width\)"),
        ((classify, lambda rows: rows[:3]), r"project: found output of shape \(3, 5\); allowed: \(21, width\)"),
    ],
)
def test_a_head_that_loses_rows_is_named(heads: Any, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        core_tuning_loss(draw(), LABELS, *heads)


@pytest.mark.parametrize(
    ("partner", "told"),
    [
        (torch.full((7,), 9), "draws.partner: found 9; allowed: 0 to 6"),
        (torch.ones(7), r"draws.partner: found torch.float32 \(7,\); allowed: int64 \(7,\)"),
        (torch.zeros(3, dtype=torch.int64), r"draws.partner: found \(3,\); allowed: \(7,\)"),
    ],
)
def test_draws_that_do_not_fit_are_named(partner: Tensor, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        core_tuning_loss(draw(), LABELS, classify, draws=draws()._replace(partner=partner))


def test_of_one_sample_there_is_no_chance_level() -> None:
    objective = CoreTuning(mixing=False)
    objective(draw(), LABELS, classify=classify)
    assert objective.chance(1) is None and objective.chance(2) is not None
