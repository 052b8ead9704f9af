"""Arbitrary pairs of classes: the formula with its B x B x D tensor in float64, who counts, and what the gates do."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from counterpoint import methods
from counterpoint.errors import ConfigError, ShapeError
from counterpoint.nn import Projector
from counterpoint.objectives import Hydra, _gated, hydra_loss, info_nce_loss, sample_partners
from learners import Net, Training, knn

pytestmark = pytest.mark.unit

SIZE, WIDTH, T = 8, 5, 0.3
LABELS = torch.tensor([0, 1, 2, 0, 3, 1, 2, 0])
PARTNERS = torch.tensor([1, 1, 3, 2, 0, 2, 2, 1])
UNKNOWN = torch.tensor([0, -1, 2, 0, 3, 1, -1, 0])
LACKING = torch.tensor([1, 1, 7, 2, -1, 2, 2, 1])
IDS = torch.tensor([4, 1, 5, 4, 9, 6, 7, 9])


def draw(views: int = 2) -> list[Tensor]:
    rows = torch.randn(views + 1, SIZE, WIDTH, generator=torch.Generator().manual_seed(views), dtype=torch.float64)
    return [(row + rows[0]).requires_grad_() for row in rows[1:]]


def opened() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (torch.rand(SIZE, WIDTH, generator=generator, dtype=torch.float64) + 0.05).requires_grad_()


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def similarities(queries: Tensor, keys: Tensor, gates: Tensor, before: bool, ungated: float) -> Tensor:
    """With the tensor ``(B, B, D)`` of all gated keys."""
    if before:
        return (unit(queries)[:, None] * unit(keys) * (gates.square() - ungated)[:, None]).sum(2)
    gated = unit(queries)[:, None] * gates[:, None], unit(keys)[None] * gates[:, None]
    return (unit(gated[0]) * unit(gated[1])).sum(2)


def dense(
    views: list[Tensor],
    labels: Tensor,
    partners: Tensor,
    gates: Tensor,
    ids: Tensor | None = None,
    *,
    normalize: str = "after",
    ungated: float = 0.0,
    symmetric: bool = True,
) -> Tensor:
    own = torch.arange(SIZE) if ids is None else ids
    terms = []
    for a in range(len(views) if symmetric else 1):
        for b in range(len(views)):
            if a == b:
                continue
            logits = similarities(views[a], views[b], gates, normalize == "before", ungated) / T
            for i in range(SIZE):
                y, p = labels[i], partners[i]
                if y < 0 or p < 0:
                    continue
                positives = [j for j in range(SIZE) if labels[j] == p]
                third = [j for j in range(SIZE) if labels[j] not in (y, p, -1) and own[j] != own[i]]
                if positives:
                    each = [
                        torch.cat([logits[i, [j]], logits[i, third]]).logsumexp(0) - logits[i, j] for j in positives
                    ]
                    terms.append(torch.stack(each).mean())
    return torch.stack(terms).mean()


def agree(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    for mine, expected in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs)):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-11)


@pytest.fixture
def blocks_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gated, "WHOLE", 0)
    monkeypatch.setattr(_gated, "row_block", lambda columns, device: 3)


FORMS = [{}, {"symmetric": False}, {"normalize": "before"}, {"normalize": "before", "ungated": 0.5}]
WHO = [(LABELS, PARTNERS, None), (LABELS, LABELS, IDS), (UNKNOWN, LACKING, IDS)]


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("who", WHO)
def test_value_and_gradient_are_the_formula(who: tuple, form: dict, views: int) -> None:
    z, gates = draw(views), opened()
    ours = hydra_loss(z, *who[:2], gates, who[2], temperature=T, **form).loss
    agree(ours, dense(z, *who[:2], gates, who[2], **form), [*z, gates])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("blocks_of_three")
def test_blocks_are_the_formula(form: dict) -> None:
    z, gates = draw(2), opened()
    scale = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    ours = hydra_loss(z, LABELS, PARTNERS, gates, IDS, temperature=scale, **form).loss
    agree(ours, dense(z, LABELS, PARTNERS, gates, IDS, **form), [*z, gates])


@pytest.mark.parametrize("form", FORMS[1:])
def test_gradients_are_those_of_the_value(form: dict) -> None:
    temperature = torch.tensor(T, dtype=torch.float64, requires_grad=True)

    def loss(a: Tensor, b: Tensor, gates: Tensor, t: Tensor) -> Tensor:
        return hydra_loss([a, b], LABELS[:5], PARTNERS[:5], gates, temperature=t, **form).loss

    z, gates = draw(), opened()
    few = [rows.detach()[:5, :3].requires_grad_() for rows in (*z, gates)]
    assert torch.autograd.gradcheck(loss, (*few, temperature))


def test_open_gates_and_the_own_class_are_supervised_contrast() -> None:
    """Of which each positive faces the negatives alone; with a class for each sample it is InfoNCE."""
    z, ones = draw(), torch.ones(SIZE, WIDTH, dtype=torch.float64)
    logits = unit(z[0]) @ unit(z[1]).t() / T
    terms = []
    for side in (logits, logits.t()):
        for i in range(SIZE):
            others = side[i][LABELS[i] != LABELS].exp().sum()
            terms.append(torch.stack([(v.exp() + others).log() - v for v in side[i][LABELS[i] == LABELS]]).mean())
    agree(hydra_loss(z, LABELS, LABELS, ones, temperature=T).loss, torch.stack(terms).mean(), z)
    classes = torch.arange(SIZE)
    alone = hydra_loss(z, classes, classes, ones, temperature=T)
    info_nce = info_nce_loss(z, temperature=T)
    agree(alone.loss, info_nce.loss, z)
    torch.testing.assert_close(alone.parts["p_positive"], info_nce.parts["p_positive"])
    torch.testing.assert_close(alone.parts["positive"], info_nce.parts["positive"])


def test_the_size_of_a_gate_does_not_matter() -> None:
    z, gates = draw(), opened().detach()
    expected = hydra_loss(z, LABELS, PARTNERS, gates).loss
    torch.testing.assert_close(hydra_loss(z, LABELS, PARTNERS, 0.01 * gates).loss, expected)
    before = hydra_loss(z, LABELS, PARTNERS, gates, normalize="before").loss
    assert hydra_loss(z, LABELS, PARTNERS, 0.01 * gates, normalize="before").loss != before


def test_the_own_class_takes_no_part() -> None:
    """Sample 3 is of the query's class and nothing else; no gradient reaches it."""
    z, gates = draw(), opened()
    asking = torch.full_like(PARTNERS, -1)
    asking[0] = 1
    result = hydra_loss(z, LABELS, asking, gates, symmetric=False)
    by_keys = torch.autograd.grad(result.loss, z[1])[0]
    assert (by_keys[LABELS == 0] == 0).all() and (by_keys[LABELS != 0].abs().sum(1) > 0).all()
    assert float(result.parts["asked"]) == pytest.approx(1 / SIZE)


def test_rows_without_positives_are_not_counted() -> None:
    z, gates = draw(), opened()
    some = PARTNERS.clone()
    some[[1, 4]] = torch.tensor([9, -1])
    kept = [i for i in range(SIZE) if i not in (1, 4)]
    whole = [hydra_loss(z, LABELS, torch.where(torch.arange(SIZE) == i, PARTNERS, -1), gates).loss for i in kept]
    torch.testing.assert_close(hydra_loss(z, LABELS, some, gates).loss, torch.stack(whole).mean())
    nothing = hydra_loss(z, LABELS, torch.full_like(LABELS, -1), gates)
    assert nothing.loss == 0
    assert all(not g.any() for g in torch.autograd.grad(nothing.loss, [*z, gates]))


def test_a_closed_dimension_is_not_seen() -> None:
    z, seen = draw(), [0, 2, 4]
    gates = torch.ones(SIZE, WIDTH, dtype=torch.float64)
    gates[:, [1, 3]] = 0.0
    loss = hydra_loss(z, LABELS, PARTNERS, gates).loss
    narrow = hydra_loss([view[:, seen] for view in z], LABELS, PARTNERS, gates[:, seen]).loss
    agree(loss, narrow, z)
    loss = hydra_loss(z, LABELS, PARTNERS, gates).loss
    swapped = [view[:, [0, 3, 2, 1, 4]] for view in z]
    torch.testing.assert_close(hydra_loss(swapped, LABELS, PARTNERS, gates).loss, loss)
    for gradient in torch.autograd.grad(loss, z):
        assert gradient[:, [1, 3]].abs().max() < 1e-15


def test_closed_gates_and_zero_rows_are_finite() -> None:
    z, gates = draw(), opened().detach()
    gates[2] = 0.0
    gates.requires_grad_()
    with torch.no_grad():
        z[0][1] = 0.0
        z[1][3] = 0.0
    result = hydra_loss(z, LABELS, PARTNERS, gates)
    gradients = torch.autograd.grad(result.loss, [*z, gates])
    assert result.loss.isfinite() and all(g.isfinite().all() for g in gradients)
    assert not gradients[0][1].any()


def test_two_classes_leave_no_negative() -> None:
    z, gates = draw(), opened()
    labels = LABELS % 2
    result = hydra_loss(z, labels, 1 - labels, gates)
    assert result.loss == 0 and result.parts["chance"] == 0
    with pytest.raises(ConfigError, match=re.escape("classes: found 2; allowed: 3 or more with partners='distinct'")):
        Hydra(2, partners="distinct")
    Hydra(2, partners="identical")


def test_duplicates_are_never_negatives() -> None:
    z, gates = draw(), opened()
    asking = torch.full_like(PARTNERS, -1)
    asking[0] = 1
    ids = torch.tensor([7, 0, 7, 1, 2, 3, 4, 5])  # sample 2, of a third class, is sample 0 again
    by_keys = torch.autograd.grad(hydra_loss(z, LABELS, asking, gates, ids, symmetric=False).loss, z[1])[0]
    assert not by_keys[2].any() and by_keys[6].any()


def test_partners() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 2, 2, 5, -1, 0, 2, -1])
    assert torch.equal(sample_partners(labels, "identical"), labels)
    seen = set()
    for _ in range(50):
        arbitrary, distinct = sample_partners(labels), sample_partners(labels, "distinct")
        assert torch.equal(arbitrary.sort().values, labels.sort().values)
        assert (arbitrary[[4, 7]] == -1).all() and (distinct[[4, 7]] == -1).all()
        assert (distinct != labels)[labels >= 0].all()
        seen |= set(zip(labels.tolist(), distinct.tolist()))
    assert seen == {(0, 2), (0, 5), (2, 0), (2, 5), (5, 0), (5, 2), (-1, -1)}
    assert torch.equal(sample_partners(torch.tensor([3, 3]), "distinct"), torch.tensor([-1, -1]))
    abroad = sample_partners(torch.tensor([3, 3]), "distinct", torch.tensor([3, 8, -1]))
    assert torch.equal(abroad, torch.tensor([8, 8]))


def test_the_module_is_the_function_with_its_gates() -> None:
    torch.manual_seed(0)
    objective = Hydra(4, WIDTH, temperature=T, norm=False).double()
    z = draw()
    torch.manual_seed(1)
    result = objective(z, IDS, labels=LABELS)
    torch.manual_seed(1)
    partners = sample_partners(LABELS)
    gates = objective.gate(LABELS, partners)
    expected = hydra_loss(z, LABELS, partners, gates, IDS, temperature=objective.temperature())
    agree(result.loss, expected.loss, [*z, *objective.parameters()])
    names = {"positive", "p_positive", "asked", "gate_open", "gate_entropy", "temperature"}
    assert set(result.parts) == names and not any(value.requires_grad for value in result.parts.values())
    torch.testing.assert_close(result.parts["gate_open"], gates.mean().detach())
    assert objective.chance(SIZE) == pytest.approx(float(expected.parts["chance"]))


def test_terms_are_weighted() -> None:
    z = draw()
    objective = Hydra(4, WIDTH, "identical", same_class=0.5, instance=2.0, learnable_temperature=False, norm=False)
    objective = objective.double()
    gates = objective.gate(LABELS, LABELS)
    own = hydra_loss(z, LABELS, LABELS, gates).loss
    expected = (1.5 * own + 2.0 * info_nce_loss(z).loss) / 3.5
    torch.testing.assert_close(objective(z, labels=LABELS).loss, expected)


def test_the_warm_up_teaches_the_gates_alone() -> None:
    torch.manual_seed(0)
    z = draw()
    objective = Hydra(4, WIDTH, "distinct", instance=1.0, warmup=0.1, learnable_temperature=False, norm=False).double()
    for progress, alone in ((0.0, True), (0.5, False)):
        objective.progress = progress
        by_rows = torch.autograd.grad(objective(z, labels=LABELS).loss, z)[0]
        by_instance = torch.autograd.grad(0.5 * info_nce_loss(z).loss, z)[0]
        assert torch.allclose(by_rows, by_instance) == alone
    objective.progress = 0.0
    objective(z, labels=LABELS).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.gate.parameters())


def test_half_precision() -> None:
    torch.manual_seed(0)
    objective = Hydra(4, 16, "identical", norm=False)
    z = [torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(n), requires_grad=True) for n in range(2)]
    exact = objective(z, labels=LABELS).loss
    with torch.autocast("cpu", torch.bfloat16):
        inside = objective(z, labels=LABELS).loss
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, exact, rtol=2e-2, atol=2e-2)
    inside.backward()
    assert z[0].grad is not None and z[0].grad.isfinite().all()


def test_chance_is_the_loss_of_equal_rows() -> None:
    objective = Hydra(4, WIDTH, "identical", norm=False)
    assert objective.chance(SIZE) is None
    loss = objective([torch.ones(SIZE, WIDTH)] * 2, labels=LABELS).loss
    assert objective.chance(SIZE) == pytest.approx(loss.item(), rel=1e-5)


def refused(kind: type[Exception], text: str, *args: object, **words: object) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        hydra_loss(*args, **words)


def test_refusals() -> None:
    z, gates = draw(), opened()
    refused(ConfigError, "normalize: found 'never'", z, LABELS, PARTNERS, gates, normalize="never")
    refused(ConfigError, "ungated: found 0.5 with normalize='after'", z, LABELS, PARTNERS, gates, ungated=0.5)
    refused(ShapeError, "gates: found (8, 4); allowed: (8, 5)", z, LABELS, PARTNERS, gates[:, :4])
    refused(ShapeError, "partners: found torch.int64 (3,)", z, LABELS, PARTNERS[:3], gates)
    refused(ShapeError, "labels: found torch.float32 (8,)", z, LABELS.float(), PARTNERS, gates)
    refused(ShapeError, "embeddings: found 1 view(s)", z[:1], LABELS, PARTNERS, gates)
    with torch.no_grad():
        z[1][0] = torch.nan
    refused(ShapeError, "embeddings[1]: found NaN or infinity in 1 row(s): 0;", z, LABELS, PARTNERS, gates)
    objective = Hydra(4, 6)
    with pytest.raises(ConfigError, match=re.escape("labels: found None")):
        objective(z)
    with pytest.raises(
        ShapeError, match=re.escape("width of the embeddings: found 5; allowed: 6. Set the objective's")
    ):
        objective(z, labels=LABELS)
    with pytest.raises(ShapeError, match=re.escape("class: found 3; allowed: from 0 to 2")):
        Hydra(3, WIDTH)(z, labels=LABELS)
    for words, text in (
        ({"warmup": 0.1}, "warmup: found 0.1"),
        ({"partners": "any"}, "partners: found 'any'"),
        ({"ungated": 0.5}, "ungated: found 0.5 with normalize='after'"),
        ({"same_class": -1.0}, "same_class: found -1"),
    ):
        with pytest.raises(ConfigError, match=re.escape(text)):
            Hydra(4, WIDTH, **words)


def test_a_batch_without_labels_teaches_nothing_and_breaks_nothing() -> None:
    z = draw()
    objective = Hydra(4, WIDTH, "distinct").double()
    objective(z, labels=torch.full_like(LABELS, -1)).loss.backward()
    assert not z[0].grad.any()


@pytest.mark.parametrize(
    ("partners", "normalize"), [("arbitrary", "after"), ("distinct", "after"), ("identical", "before")]
)
def test_digits_are_told_apart_better_than_before(partners: str, normalize: str) -> None:
    torch.manual_seed(0)
    objective = Hydra(10, 32, partners, normalize)
    method = methods.SimCLR(Net(), objective, lambda dim: Projector(dim, hidden_dim=64, out_dim=32))
    untrained = knn(method.encoder)
    steps = 60
    losses = Training(method, steps, lr=5e-3).run(0, steps)
    assert knn(method.encoder) > untrained + 0.08 and losses[-1] < losses[0]


@pytest.mark.parametrize("normalize", ["after", "before"])
@pytest.mark.parametrize("broken", ["a row that nothing asks of", "a gate"])
def test_what_breaks_the_gradient_alone_is_named(normalize: str, broken: str) -> None:
    z, gates = [torch.randn(8, 4, dtype=torch.float64) for _ in range(2)], torch.ones(8, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, -1])
    partners = torch.tensor([1, 2, 0, 1, 2, 0, 1, -1])
    told = r"embeddings\[1\]: found NaN or infinity in 1 row\(s\): 7"
    if broken == "a gate":
        gates[2, 1], told = torch.nan, r"gates: found NaN or infinity in 1 row\(s\): 2"
    else:
        z[1][7] = torch.nan
    with pytest.raises(ShapeError, match=told):
        hydra_loss(z, labels, partners, gates, normalize=normalize, symmetric=False)


def test_samples_of_unknown_class_do_not_move_the_gates() -> None:
    """Neither the statistics of their BatchNorm, nor what is told of them, nor anybody's loss."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(10, 4, generator=generator) for _ in range(2)]
    labels = torch.tensor([0, 1, 2, 3, 0, 1])

    def step(count: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        torch.manual_seed(0)
        objective = Hydra(4, 4, "identical")
        known = torch.cat([labels, torch.full((count,), -1)])
        result = objective([view[: 6 + count] for view in views], labels=known)
        return result.loss, dict(result.parts), objective.gate.network[1].running_mean

    alone, joined = step(0), step(4)
    torch.testing.assert_close(alone[0], joined[0])
    torch.testing.assert_close(alone[2], joined[2])
    for name in ("gate_open", "gate_entropy"):
        torch.testing.assert_close(alone[1][name], joined[1][name])


@pytest.mark.parametrize("known", [0, 1])
def test_a_batch_in_which_one_or_none_is_known_has_finite_gradients(known: int) -> None:
    objective = Hydra(4, 4, "identical")
    labels = torch.tensor([2] * known + [-1] * (4 - known))
    before = objective.gate.network[1].running_mean.clone()
    loss = objective([torch.randn(4, 4, requires_grad=True) for _ in range(2)], labels=labels).loss
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    assert torch.equal(before, objective.gate.network[1].running_mean) == (known == 0)
    assert objective.gate.training


@pytest.mark.parametrize(
    ("own", "present", "expected"),
    [(9, [1, 2, 3], {1, 2, 3}), (2, [1, 3, 5], {1, 3, 5}), (9, [1], {1}), (3, [1, 3, 5], {1, 5}), (1, [1], {-1})],
)
def test_any_other_of_the_present_classes_is_drawn(own: int, present: list[int], expected: set[int]) -> None:
    drawn = sample_partners(torch.full((200,), own), "distinct", torch.tensor(present))
    assert set(drawn.tolist()) == expected
