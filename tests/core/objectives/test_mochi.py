"""MoCHi against its formula, with the mixtures written down one by one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import MoCo, SimCLR
from counterpoint.objectives import InfoNCE, MoCHi, info_nce_loss, mochi, mochi_loss
from counterpoint.objectives.mochi import Draws, Hard, Recipe, mixed_logsumexp
from learners import Net, Training, knn

pytestmark = pytest.mark.unit

T = 0.3
RECIPE = Recipe(hardest=5, mixed=7, query_mixed=4, query_share=0.5)


def rows(count: int, seed: int, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(*args: Any, **settings: Any) -> Any:
    torch.manual_seed(5)
    return mochi_loss(*args, temperature=T, **{"hardest": 5, "mixed": 7, "query_mixed": 4, **settings})


def hard_of(query: Tensor, queue: Tensor, own: Tensor, count: int = 5) -> Hard:
    """The hardest by a full ranking; ``own``: (B, M) bool, what is left out."""
    ranked = (query @ queue.t()).masked_fill(own, -torch.inf).topk(min(count, len(queue)), dim=1)
    return Hard(queue, ranked.indices, ranked.values)


def mixtures(query: Tensor, hard: Hard, draws: Draws) -> Tensor:
    """``(B, s + s', D)``, every vector by its definition."""
    made = []
    for i, q in enumerate(query):
        parents = hard.pool[hard.places[i]]
        pairs = zip(draws.first[i], draws.second[i], draws.weight[i])
        own = zip(draws.parent[i], draws.query_weight[i])
        vectors = [a * parents[x] + (1 - a) * parents[y] for x, y, a in pairs]
        vectors += [b * q + (1 - b) * parents[x] for x, b in own]
        made.append(F.normalize(torch.stack(vectors), dim=1))
    return torch.stack(made)


def dense(query: Tensor, key: Tensor, queue: Tensor, own: Tensor, made: Tensor) -> Tensor:
    """The loss of unit rows with the mixtures given as constants."""
    scores = (query @ queue.t()).masked_fill(own, -torch.inf)
    extra = torch.einsum("bd,bsd->bs", query, made)
    logits = torch.cat([(query * key).sum(1, keepdim=True), scores, extra], dim=1) / T
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Hard, Draws]]:
    """What was mined and drawn in each call."""
    seen: list[tuple[Hard, Draws]] = []
    real = mochi.mixed_logsumexp

    def watched(anchors: Tensor, hard: Hard, scale: float, recipe: Recipe) -> tuple[Tensor, Tensor]:
        state = torch.get_rng_state()
        seen.append((hard, Draws.of(hard, recipe)))
        torch.set_rng_state(state)
        return real(anchors, hard, scale, recipe)

    monkeypatch.setattr(mochi, "mixed_logsumexp", watched)
    return seen


def test_value_and_gradient_are_those_of_the_formula_with_frozen_mixtures(draws: list[tuple[Hard, Draws]]) -> None:
    query, key, queue = 2 * rows(6, 0), rows(6, 1), F.normalize(rows(40, 2), dim=1)
    ids, queue_ids = torch.arange(6), torch.arange(40) % 11
    query.requires_grad_()
    result = loss((query, key), ids, queue, queue_ids)
    result.loss.backward()
    own = ids[:, None] == queue_ids
    plain = query.detach().clone().requires_grad_()
    unit = F.normalize(plain, dim=1)
    hard, drawn = draws[0]
    torch.testing.assert_close(hard.cosines.sort(1)[0], hard_of(unit.detach(), queue, own).cosines.sort(1)[0])
    made = mixtures(unit.detach(), hard, drawn)
    expected = dense(unit, F.normalize(key, dim=1), queue, own, made)
    expected.backward()
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(query.grad, plain.grad)
    chosen = (queue[hard.places] * unit.detach()[:, None]).sum(2)
    torch.testing.assert_close(result.parts["negative_hardest"], chosen.mean())
    torch.testing.assert_close(result.parts["negative_mixed"], torch.einsum("bd,bsd->bs", unit, made).mean().detach())


def test_the_gradient_is_the_weighted_mean_of_all_candidates_less_the_key() -> None:
    """(sum over candidates of p v - k) / t, and by finite differences with the mixtures held still."""
    query, queue = F.normalize(rows(3, 0), dim=1), F.normalize(rows(30, 2), dim=1)
    hard = hard_of(query, queue, torch.zeros(3, 30, dtype=torch.bool))

    def value(anchors: Tensor, scale: Tensor) -> Tensor:
        torch.manual_seed(1)
        return mixed_logsumexp(anchors, hard, scale, Recipe(5, 9, 1, 1e-12))[0]

    scale = torch.tensor(1 / T, dtype=torch.float64, requires_grad=True)
    found = value(query.requires_grad_(), scale)
    grad, by_scale = torch.autograd.grad(found.sum(), (query, scale))
    torch.manual_seed(1)
    made = mixtures(query.detach(), hard, Draws.of(hard, Recipe(5, 9, 1, 1e-12)))
    logits = torch.einsum("bd,bsd->bs", query.detach(), made)
    p = torch.softmax(logits / T, dim=1)
    torch.testing.assert_close(found.detach(), torch.logsumexp(logits / T, dim=1))
    torch.testing.assert_close(grad, torch.einsum("bs,bsd->bd", p, made) / T)
    torch.testing.assert_close(by_scale, (p * logits).sum())


def test_without_mixtures_and_during_the_warm_up_it_is_infonce_bit_for_bit() -> None:
    query, key, queue = rows(6, 0).float(), rows(6, 1).float(), rows(40, 2).float()
    expected = info_nce_loss((query, key), negatives=queue, temperature=T, symmetric=False, in_batch=False).loss
    assert torch.equal(loss((query, key), negatives=queue, mixed=0, query_mixed=0).loss, expected)
    objective = MoCHi(T, warmup=0.5)
    objective.progress = 0.49
    assert torch.equal(objective((query, key), negatives=queue).loss, expected)
    objective.progress = 0.5
    assert objective((query, key), negatives=queue).loss > expected
    in_batch = info_nce_loss((query, key), temperature=T).loss
    assert torch.equal(MoCHi(T, mixed=0, query_mixed=0)((query, key)).loss, in_batch)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_never_below_the_loss_without(seed: int) -> None:
    query, key, queue = rows(6, seed), rows(6, seed + 10), rows(40, seed + 20)
    plain = info_nce_loss((query, key), negatives=queue, temperature=T, symmetric=False, in_batch=False).loss
    pairs = loss((query, key), negatives=queue, query_mixed=0).loss
    assert plain < pairs
    assert plain < loss((query, key), negatives=queue, mixed=0).loss


def test_mixtures_are_harder_than_their_parents_and_of_the_anchors_own_hardest() -> None:
    query, queue = F.normalize(rows(8, 0), dim=1), F.normalize(rows(50, 2), dim=1)
    hard = hard_of(query, queue, torch.zeros(8, 50, dtype=torch.bool))
    torch.manual_seed(0)
    drawn = Draws.of(hard, RECIPE)
    assert bool((drawn.first != drawn.second).all()), "two parents"
    assert drawn.weight.min() >= 0 and drawn.weight.max() < 1 and drawn.query_weight.max() < 0.5
    assert len({tuple(sorted(places.tolist())) for places in hard.places}) > 1, "different queries, different sets"
    torch.manual_seed(0)
    _, cosines = mixed_logsumexp(query, hard, 1 / T, RECIPE)
    first, second = hard.cosines.gather(1, drawn.first), hard.cosines.gather(1, drawn.second)
    between = drawn.weight * first + (1 - drawn.weight) * second
    pairs, queries = cosines.split([7, 4], dim=1)
    positive = between >= 0
    assert bool((pairs >= between - 1e-12)[positive].all()) and bool((pairs <= between + 1e-12)[~positive].all())
    assert bool((queries >= hard.cosines.gather(1, drawn.parent) - 1e-12).all())
    nearly = mixed_logsumexp(query, hard, 1 / T, Recipe(5, 0, 4, 1e-9))[1]
    assert all(min(abs(c - h) for h in hard.cosines[i]) < 1e-8 for i, row in enumerate(nearly) for c in row)


def test_the_weights_at_their_ends_give_a_row_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    query, queue = F.normalize(rows(4, 0), dim=1), F.normalize(rows(20, 2), dim=1)
    hard = hard_of(query, queue, torch.zeros(4, 20, dtype=torch.bool))
    drawn = Draws.of(hard, RECIPE)
    for weight, parent in ((1.0, drawn.first), (0.0, drawn.second)):
        at = drawn._replace(weight=torch.full_like(drawn.weight, weight))
        monkeypatch.setattr(Draws, "of", lambda *_, at=at: at)
        _, cosines = mixed_logsumexp(query, hard, 1 / T, RECIPE)
        torch.testing.assert_close(cosines[:, :7], hard.cosines.gather(1, parent))


def test_what_has_the_anchors_content_is_neither_compared_nor_mined(draws: list[tuple[Hard, Draws]]) -> None:
    """Old keys of the anchor itself are the hardest false negatives there are."""
    query = F.normalize(rows(4, 0), dim=1)
    queue = F.normalize(torch.cat([rows(30, 2), query, query]), dim=1)
    ids = torch.arange(4) + 100
    queue_ids = torch.cat([torch.arange(30), ids, ids])
    loss((query, rows(4, 1)), ids, queue, queue_ids)
    assert bool((queue_ids[draws[0][0].places] != ids[:, None]).all())
    one, others = (query[:1], rows(1, 1)), queue_ids != ids[0]
    found = loss(one, ids[:1], queue, queue_ids, hardest=1)
    torch.testing.assert_close(found.loss, loss(one, ids[:1], queue[others], queue_ids[others], hardest=1).loss)


def test_an_anchor_with_few_negatives_mixes_those_and_one_with_none_adds_nothing() -> None:
    query = rows(3, 0).requires_grad_()
    ids, queue_ids = torch.tensor([1, 2, 3]), torch.tensor([1, 1, 1, 2, 1, 1])
    queue = rows(6, 2)
    result = loss((query, rows(3, 1)), ids, queue, queue_ids)
    result.loss.backward()
    assert torch.isfinite(result.loss) and torch.isfinite(query.grad).all()
    nothing = query.detach().clone().requires_grad_()
    told = loss((nothing, rows(3, 1)), torch.ones(3, dtype=torch.int64), queue[:3], torch.ones(3, dtype=torch.int64))
    told.loss.backward()
    assert told.loss == 0 and not nothing.grad.any()


def test_zero_rows_and_half_precision_keep_the_loss_finite() -> None:
    query, key, queue = rows(6, 0).float(), rows(6, 1).float(), rows(40, 2).float()
    query[2] = 0
    queue[3] = 0
    query.requires_grad_()
    result = loss((query, key), negatives=queue)
    result.loss.backward()
    assert torch.isfinite(query.grad).all() and not query.grad[2].any()
    with torch.autocast("cpu", torch.bfloat16):
        half = loss((query, key), negatives=queue).loss
    torch.testing.assert_close(half, result.loss)
    coarse = loss((query.bfloat16(), key.bfloat16()), negatives=queue.bfloat16()).loss
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, result.loss, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("settings", [{"in_batch": True}, {"in_batch": True, "symmetric": True}])
def test_batch_and_queue_are_mined_as_one(draws: list[tuple[Hard, Draws]], settings: dict[str, bool]) -> None:
    query, key, queue = (F.normalize(rows(n, s), dim=1) for n, s in ((6, 0), (6, 1), (9, 2)))
    loss((query, key), negatives=queue, **settings)
    pool = torch.cat([key, queue])
    own = torch.cat([torch.eye(6, dtype=torch.bool), torch.zeros(6, 9, dtype=torch.bool)], dim=1)
    expected = hard_of(query, pool, own)
    torch.testing.assert_close(draws[0][0].cosines, expected.cosines)
    assert len(draws) == (2 if "symmetric" in settings else 1)


def test_in_the_batch_all_views_are_anchors() -> None:
    views = [rows(8, s) for s in range(3)]
    result = loss(views)
    plain = info_nce_loss(views, temperature=T).loss
    assert result.loss > plain
    assert MoCHi(T)(views).loss > plain
    assert (result.loss - loss(views, symmetric=False).loss).abs() > 1e-3


def test_chance_counts_the_mixtures_once_they_are_there() -> None:
    objective = MoCHi(T, mixed=7, query_mixed=4, warmup=0.1)
    objective((rows(6, 0), rows(6, 1)), negatives=rows(40, 2))
    assert objective.chance(6) == pytest.approx(torch.tensor(41.0).log().item())
    objective.progress = 0.2
    assert objective.chance(6) == pytest.approx(torch.tensor(52.0).log().item())
    assert MoCHi(T, mixed=7, query_mixed=4).chance(6) == pytest.approx(torch.tensor(17.0).log().item())


def test_wrong_settings_and_rows_are_named() -> None:
    for settings, text in (
        ({"hardest": 0}, "hardest: found 0; allowed: a whole number from 1"),
        ({"mixed": -1}, "mixed: found -1; allowed: a whole number from 0"),
        ({"query_share": 0.6}, r"query_share: found 0.6; allowed: a number in \(0, 0.5\]"),
        ({"warmup": 2.0}, r"warmup: found 2.0; allowed: a share of the training, in \[0, 1\]"),
        ({"temperature": 0.0}, "temperature: found 0.0; allowed: a number above 0"),
    ):
        with pytest.raises(ConfigError, match=text):
            MoCHi(**settings)
    broken = rows(6, 1)
    broken[4, 0] = torch.nan
    with pytest.raises(ShapeError, match=r"embeddings\[1\]: found NaN or infinity in 1 row\(s\): 4"):
        loss((rows(6, 0), broken), negatives=rows(40, 2))


@pytest.mark.parametrize("frame", ["moco", "simclr"])
def test_it_learns_to_tell_digits_apart(frame: str) -> None:
    torch.manual_seed(0)
    objective = MoCHi(0.2, hardest=64, mixed=32, query_mixed=8, warmup=0.3)
    method = MoCo(Net(), objective, queue_size=512) if frame == "moco" else SimCLR(Net(), objective)
    untrained = knn(method.encoder)
    losses = Training(method, 60, lr=5e-3).run(0, 60)
    assert knn(method.encoder) > untrained + 0.08
    assert losses[-1] < losses[20] or frame == "moco"


def test_the_queue_does_not_know_of_mixtures() -> None:
    queues = []
    for objective in (MoCHi(0.2, hardest=8, mixed=5, query_mixed=3), InfoNCE(0.2, symmetric=False, in_batch=False)):
        torch.manual_seed(0)
        method = MoCo(Net(norm=False), objective, queue_size=256)
        Training(method, 1, batch=32, lr=1e-9).run(0, 1)
        queues.append(method.queue.rows.clone())
    assert torch.equal(*queues)


@pytest.mark.parametrize(("candidates", "mined"), [(16384, 128), (1024, 128), (64, 8), (9, 1), (3, 1)])
def test_of_few_candidates_an_eighth_is_hard(candidates: int, mined: int) -> None:
    assert Recipe(None, 1, 1, 0.5).mines(candidates) == mined
    assert Recipe(200, 1, 1, 0.5).mines(candidates) == min(200, candidates)


def test_in_a_batch_the_hardest_are_harder_than_the_rest() -> None:
    views = [rows(64, seed) for seed in (1, 2)]
    parts = MoCHi()(views).parts
    cosines = F.normalize(views[0], dim=1) @ F.normalize(views[1], dim=1).t()
    hardest = cosines.masked_fill(torch.eye(64, dtype=torch.bool), -1).topk(8, dim=1).values.mean()
    torch.testing.assert_close(parts["negative_hardest"], hardest, rtol=0.05, atol=0)


@pytest.mark.parametrize("settings", [{"hardest": 5.5}, {"mixed": True}, {"query_mixed": 0.5}])
def test_numbers_of_mixtures_are_whole(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}: found .*; allowed: a whole number from"):
        MoCHi(**settings)


def test_the_module_hands_on_its_settings() -> None:
    words: dict[str, Any] = {"hardest": 6, "mixed": 5, "query_mixed": 4, "query_share": 0.2}
    query, queue = rows(6, 0).requires_grad_(), rows(40, 2)
    found = []
    for call in (MoCHi(T, **words), partial(mochi_loss, temperature=T, **words)):
        torch.manual_seed(0)
        value = call((query, rows(6, 1)), negatives=queue).loss
        found.append((value.detach(), torch.autograd.grad(value, query)[0]))
    torch.testing.assert_close(*found, rtol=0, atol=0)
