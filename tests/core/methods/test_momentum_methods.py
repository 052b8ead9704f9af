"""MoCo, BYOL, SimSiam, DINO: where gradients stop, what the twin sees, and what the queue and the centre hold."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import BYOL, DINO, Method, MoCo, MoCoV3, SimSiam
from counterpoint.nn import DINOHead, Projector
from counterpoint.objectives import BarlowTwins, InfoNCE, NegativeCosine, NTXent, Sigmoid, SupCon
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, Step, View

pytestmark = pytest.mark.unit

HEAD = partial(Projector, hidden_dim=8, out_dim=5, norm=False)
TEMPERATURE = 0.2


class Net(Encoder):
    """A linear layer that notes how many rows it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.seen = 6, []
        self.net = nn.Linear(4, 6)

    def forward(self, view: View) -> Encoding:
        self.seen.append(len(view.data))
        return Encoding(torch.tanh(self.net(view.data)).mean(1))


def material(seed: int = 0, rows: int = 4, local: int = 0, ids: Tensor | None = None) -> tuple[list[View], Batch]:
    draw = torch.randn(2 + local, rows, 3, 4, generator=torch.Generator().manual_seed(seed))
    draw = draw + 2 * draw[:1]
    content = torch.arange(rows) + 10 * seed if ids is None else ids
    views = [View(d, "x") for d in draw[:2]] + [View(d[:, :2], "x", "local") for d in draw[2:]]
    return views, Batch({"x": draw[0]}, torch.arange(rows), content)


def take(method: Method, seed: int, optimizer: torch.optim.Optimizer | None = None, **options: int) -> Step:
    step: Step = method(*material(seed, **options))
    step.loss.backward()
    method.after_backward()
    if optimizer is not None:
        optimizer.step()
    method.zero_grad()
    method.after_step()
    return step


def sgd(method: Method) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)


def embed(branch: nn.Module, view: View) -> Tensor:
    return F.normalize(branch.projector(branch.encoder(view).pooled), dim=1)


def queue_loss(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    """He et al., equation 1: the key among the queue."""
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64))


def keys_of(method: MoCo, views: list[View]) -> list[Tensor]:
    branch = method.twin.module
    return [F.normalize(branch["projector"](branch["encoder"](view).pooled), dim=1).detach() for view in views]


# MoCo


@pytest.mark.parametrize("symmetric", [True, False])
def test_moco_is_the_formula_over_the_queue(symmetric: bool) -> None:
    torch.manual_seed(0)
    method = MoCo(Net(), projector=HEAD, queue_size=30, momentum=0.5, symmetric=symmetric)
    for seed in (1, 2):
        take(method, seed, sgd(method))
    views, batch = material(3)
    queue = method.queue.get()[0]
    assert len(queue) == (16 if symmetric else 8)
    queries, keys = [embed(method, view) for view in views], keys_of(method, views)
    wanted = queue_loss(queries[0], keys[1], queue)
    if symmetric:
        wanted = (wanted + queue_loss(queries[1], keys[0], queue)) / 2
    step = method(views, batch)
    torch.testing.assert_close(step.loss, wanted)
    assert step.chance == pytest.approx(math.log(len(queue) + 1))


@pytest.mark.parametrize("symmetric", [True, False])
def test_mocos_queries_are_drawn_to_the_keys_of_all_other_views(symmetric: bool) -> None:
    torch.manual_seed(0)
    method = MoCo(Net(), projector=HEAD, queue_size=64, symmetric=symmetric)
    take(method, 1, sgd(method))
    (first, second), batch = material(3)
    third, local = View(first.data.flip(1), "x"), View(second.data[:, :2], "x", "local")
    views = [first, second, third]
    queries, keys = [embed(method, view) for view in views], keys_of(method, views)
    queue = method.queue.get()[0]
    pairs = [(a, b) for a in range(3 if symmetric else 1) for b in range(3) if a != b]
    wanted = torch.stack([queue_loss(queries[a], keys[b], queue) for a, b in pairs]).mean()
    torch.testing.assert_close(method([*views, local], batch).loss, wanted)
    method.after_step()
    enqueued = torch.cat([keys[1], keys[2], *keys[: 1 if symmetric else 0]])
    torch.testing.assert_close(method.queue.get()[0][len(queue) :], enqueued)


def test_moco_in_one_direction_shows_each_encoder_one_view() -> None:
    method = MoCo(Net(), projector=HEAD, symmetric=False)
    method(*material())
    assert (method.encoder.seen, method.twin.module["encoder"].seen) == ([4], [4])
    both = MoCo(Net(), projector=HEAD)
    both(*material())
    assert (both.encoder.seen, both.twin.module["encoder"].seen) == ([8], [8])


def test_mocos_first_step_takes_the_batchs_keys_for_negatives() -> None:
    torch.manual_seed(0)
    method = MoCo(Net(), projector=HEAD, symmetric=False)
    views, batch = material()
    query, key = embed(method, views[0]), keys_of(method, views)[1]
    torch.testing.assert_close(method(views, batch).loss, F.cross_entropy(query @ key.T / TEMPERATURE, torch.arange(4)))
    assert len(method.queue) == 0  # what is enqueued is enqueued after the step


def test_mocos_queue_holds_unit_keys_of_the_twin_with_their_ids() -> None:
    method = MoCo(Net(), projector=HEAD, queue_size=12)
    views, batch = material(1)
    expected = keys_of(method, views)
    take(method, 1, sgd(method))
    rows, ids = method.queue.get()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(rows, torch.cat([expected[1], expected[0]]))
    assert ids.tolist() == batch.content.tolist() * 2
    take(method, 2)
    assert (len(method.queue), method.queue.full) == (12, True)


def test_rows_of_the_queue_with_the_samples_own_id_are_no_negatives() -> None:
    """A sample that comes back an epoch later finds its own old keys in the queue."""
    torch.manual_seed(0)
    method, losses = MoCo(Net(), projector=HEAD, queue_size=8), []
    ids = torch.full((4,), 5)
    for old in (torch.randn(4, 5), torch.randn(4, 5)):
        method.queue.written.zero_()
        method.queue.put(torch.ones(4, 5), torch.arange(4))
        method.queue.put(old, ids)
        losses.append(method(*material(ids=ids)).loss)
    assert torch.equal(*losses)
    method.queue.row_ids.add_(50)
    assert not torch.equal(losses[0], method(*material(ids=ids)).loss)


def test_mocos_key_encoder_moves_by_the_average_alone() -> None:
    torch.manual_seed(0)
    method = MoCo(Net(), projector=HEAD, momentum=0.75)
    method.total_steps = 10
    for seed in range(3):
        before = [p.clone() for p in method.twin.module.parameters()]
        take(method, seed, sgd(method))
        online = [*method.encoder.parameters(), *method.projector.parameters()]
        for key, old, new in zip(method.twin.module.parameters(), before, online, strict=True):
            torch.testing.assert_close(key, 0.75 * old + 0.25 * new.detach())
            assert not torch.equal(old, key)


def test_an_untrained_mocos_loss_is_near_its_chance_level() -> None:
    torch.manual_seed(0)
    method = MoCo(Net(), InfoNCE(temperature=50.0, symmetric=False, in_batch=False), HEAD, queue_size=64)
    for seed in range(10):
        step = take(method, seed)
    assert step.chance == pytest.approx(math.log(65))
    assert step.loss.item() == pytest.approx(step.chance, abs=0.1)


def test_moco_with_the_batchs_keys_beside_the_queues() -> None:
    method = MoCo(Net(), InfoNCE(TEMPERATURE, symmetric=False, in_batch=True), HEAD, queue_size=64, symmetric=False)
    take(method, 1)
    assert method(*material(2)).chance == pytest.approx(math.log(4 + 4))


@pytest.mark.parametrize("objective", [NTXent(), Sigmoid()])
def test_moco_takes_any_objective_with_a_queue(objective: nn.Module) -> None:
    method = MoCo(Net(), objective, HEAD)
    take(method, 0)
    assert torch.isfinite(take(method, 1).loss)


@pytest.mark.parametrize("objective", [SupCon(), NegativeCosine(), BarlowTwins()])
def test_moco_refuses_an_objective_without_one(objective: nn.Module) -> None:
    with pytest.raises(
        ConfigError, match=r"MoCo: objective: found .*called with embeddings and negatives and negative_ids"
    ):
        MoCo(Net(), objective, HEAD)


# MoCo v3, BYOL, SimSiam


def test_mocov3_is_the_formula() -> None:
    torch.manual_seed(0)
    method = MoCoV3(Net(), projector=HEAD, predictor=lambda dim: nn.Linear(dim, dim))
    views, batch = material()
    queries = [F.normalize(method.predictor(method.projector(method.encoder(v).pooled)), dim=1) for v in views]
    keys = keys_of(method, views)
    terms = [F.cross_entropy(queries[a] @ keys[1 - a].T / TEMPERATURE, torch.arange(4)) for a in (0, 1)]
    torch.testing.assert_close(method(views, batch).loss, (terms[0] + terms[1]) / 2)


def test_mocov3s_keys_ask_nothing_whatever_the_objective() -> None:
    losses = []
    for objective in (None, InfoNCE(temperature=TEMPERATURE)):
        torch.manual_seed(0)
        method = MoCoV3(Net(), objective, HEAD, lambda dim: nn.Linear(dim, dim))
        losses.append(method(*material()).loss)
    assert torch.equal(*losses)


def test_byol_is_the_formula() -> None:
    torch.manual_seed(0)
    method = BYOL(Net(), projector=HEAD, predictor=lambda dim: nn.Linear(dim, dim))
    views, batch = material()
    predictions = [F.normalize(method.predictor(method.projector(method.encoder(v).pooled)), dim=1) for v in views]
    targets = keys_of(method, views)
    wanted = sum((predictions[a] - targets[1 - a]).square().sum(1).mean() for a in (0, 1))
    torch.testing.assert_close(method(views, batch).loss, wanted)


def test_simsiam_is_the_formula_and_stops_the_gradient_at_the_target() -> None:
    torch.manual_seed(0)
    method = SimSiam(Net(), projector=HEAD, predictor=lambda dim: nn.Linear(dim, dim))
    views, batch = material()
    z = [method.projector(method.encoder(view).pooled) for view in views]
    p = [method.predictor(one) for one in z]
    wanted = -(F.cosine_similarity(p[0], z[1].detach()).mean() + F.cosine_similarity(p[1], z[0].detach()).mean()) / 2
    loss = method(views, batch).loss
    torch.testing.assert_close(loss, wanted)
    weight = method.encoder.net.weight
    torch.testing.assert_close(*(torch.autograd.grad(value, weight)[0] for value in (loss, wanted)))


@pytest.mark.parametrize("cls", [MoCo, MoCoV3, BYOL, DINO])
def test_no_gradient_reaches_the_twin_and_no_optimiser_lists_it(cls: type[Method]) -> None:
    method = cls(Net())
    views, batch = material()
    method(views, batch).loss.backward()
    twin = {id(p) for p in method.twin.parameters()}
    assert twin
    assert all(p.grad is None and not p.requires_grad for p in method.twin.parameters())
    assert twin.isdisjoint(id(p) for group in method.parameter_groups() for p in group["params"])


@pytest.mark.parametrize(("cls", "rises"), [(MoCo, False), (MoCoV3, True), (BYOL, True), (DINO, True)])
def test_the_twins_momentum_over_a_training(cls: type[Method], rises: bool) -> None:
    method = cls(Net(), momentum=0.9)
    assert method.twin.at(100) == 0.9
    method.twin.steps.fill_(100)
    assert method.twin.at(100) == (1.0 if rises else 0.9)


# DINO


def small_dino(**options: float) -> DINO:
    torch.manual_seed(0)
    head = partial(DINOHead, prototypes=7, hidden_dim=8, bottleneck_dim=5)
    return DINO(Net(), projector=head, momentum=0.5, **options)


def teachers(method: DINO, views: list[View]) -> list[Tensor]:
    branch = method.twin.module
    return [branch["projector"](branch["encoder"](view).pooled).detach() for view in views]


def test_dinos_teacher_sees_the_global_views_and_the_student_all() -> None:
    method = small_dino()
    method(*material(local=3))
    assert method.encoder.seen == [8, 12]
    assert method.twin.module["encoder"].seen == [8]


def test_dino_is_the_formula() -> None:
    method = small_dino()
    method.objective.centre.copy_(torch.linspace(-0.1, 0.1, 7))
    views, batch = material(local=2)
    targets = [((t - method.objective.centre) / 0.04).softmax(1) for t in teachers(method, views[:2])]
    logs = [(method.projector(method.encoder(view).pooled) / 0.1).log_softmax(1) for view in views]
    terms = [-(targets[t] * logs[v]).sum(1).mean() for t in range(2) for v in range(4) if t != v]
    torch.testing.assert_close(method(views, batch).loss, torch.stack(terms).mean())


def test_dinos_centre_moves_after_the_step_by_the_teachers_mean() -> None:
    method = small_dino()
    views, batch = material()
    mean = torch.cat(teachers(method, views)).mean(0)
    method(views, batch).loss.backward()
    assert torch.equal(method.objective.centre, torch.zeros(7))
    method.after_step()
    torch.testing.assert_close(method.objective.centre, 0.1 * mean)
    method.after_step()  # without a step in between nothing is counted twice
    torch.testing.assert_close(method.objective.centre, 0.1 * mean)


@pytest.mark.parametrize(
    "make", [partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9)]
)
def test_dinos_last_layer_stands_still_while_it_is_frozen(make: partial[torch.optim.Optimizer]) -> None:
    method = small_dino(freeze_share=0.3)
    method.total_steps = 10
    optimizer = make(method.parameter_groups())
    start = [p.clone() for p in method.projector.last.parameters()]
    moved = []
    for seed in range(5):
        take(method, seed, optimizer)
        now = list(method.projector.last.parameters())
        moved.append(not all(torch.equal(a, b) for a, b in zip(start, now)))
    assert moved == [False, False, False, True, True]


def test_dino_wants_global_views_in_front() -> None:
    views, batch = material(local=2)
    with pytest.raises(ShapeError, match=r"DINO: roles of the views: .*allowed: global ones, then local ones"):
        small_dino()(views[::-1], batch)
    with pytest.raises(ShapeError, match="roles of the views"):
        small_dino()(views[2:], batch)
