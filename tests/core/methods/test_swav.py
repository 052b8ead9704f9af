"""SwAV: frozen prototypes, codes from global views, multi-crop, and a queue that enters the codes alone."""

from __future__ import annotations

import math
import re
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoint.errors import ConfigError, ShapeError
from counterpoint.methods import SwAV
from counterpoint.nn import Projector
from counterpoint.objectives import NTXent, sinkhorn, swapped_prediction
from counterpoint.parts import Encoder
from counterpoint.types import Batch, Encoding, View

pytestmark = pytest.mark.unit

ROWS = 6
HEAD = partial(Projector, hidden_dim=8, out_dim=5)
OPTIMISERS = [
    pytest.param(partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1), id="adamw"),
    pytest.param(partial(torch.optim.SGD, lr=0.5, momentum=0.9, weight_decay=0.01), id="sgd"),
]


class Net(Encoder):
    """A linear layer that notes how many rows it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.seen = 6, []
        self.net = nn.Linear(4, 6)

    def forward(self, view: View) -> Encoding:
        self.seen.append(len(view.data))
        return Encoding(torch.tanh(self.net(view.data)).mean(1))


def make(total: int = 10, **options: object) -> SwAV:
    torch.manual_seed(0)
    method = SwAV(Net(), projector=HEAD, **{"prototypes": 4, **options})
    method.total_steps = total
    return method


def material(seed: int = 0, local: int = 0) -> tuple[list[View], Batch]:
    draw = torch.randn(2 + local, ROWS, 3, 4, generator=torch.Generator().manual_seed(seed))
    draw = draw + 2 * draw[:1]
    views = [View(d, "x") for d in draw[:2]] + [View(d[:, :2], "x", "local") for d in draw[2:]]
    return views, Batch({"x": draw[0]}, torch.arange(ROWS), torch.arange(ROWS))


def take(method: SwAV, seed: int, optimizer: torch.optim.Optimizer | None = None) -> Tensor:
    loss: Tensor = method(*material(seed)).loss
    loss.backward()
    method.after_backward()
    if optimizer is not None:
        optimizer.step()
    method.zero_grad()
    method.after_step()
    return loss.detach()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_frozen_prototypes_do_not_change_a_bit_and_later_have_unit_length_at_every_forward(
    optimiser: partial[torch.optim.Optimizer],
) -> None:
    method = make(freeze_share=0.4)
    optimizer = optimiser(method.parameter_groups())
    start = method.prototypes.weight.detach().clone()
    lengths, same = [], []
    method.prototypes.register_forward_pre_hook(lambda module, _: lengths.append(module.weight.norm(dim=1)))
    for seed in range(10):
        take(method, seed, optimizer)
        same.append(torch.equal(method.prototypes.weight, start))
    assert same == [True] * 4 + [False] * 6
    assert len(lengths) == 10
    for length in lengths:
        torch.testing.assert_close(length, torch.ones(4))
    assert (method.prototypes.weight.norm(dim=1) - 1).abs().max() > 1e-4  # after the last step, before the next forward


def test_crops_of_equal_shape_go_through_the_encoder_together_and_all_through_the_projector() -> None:
    method = make()
    rows: list[int] = []
    method.projector.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    method(*material(local=3))
    assert method.encoder.seen == [2 * ROWS, 3 * ROWS]
    assert rows == [5 * ROWS]


def embeddings(method: SwAV, views: list[View]) -> list[Tensor]:
    pooled = torch.cat([method.encoder(view).pooled for view in views])
    return list(F.normalize(method.projector(pooled), dim=1).chunk(len(views)))


def test_it_is_the_formula_with_codes_of_the_global_views() -> None:
    method = make(freeze_share=0)
    views, batch = material(local=2)
    scores = [z @ F.normalize(method.prototypes.weight, dim=1).T for z in embeddings(method, views)]
    codes = [sinkhorn(s.detach(), 0.05, 3) for s in scores[:2]]
    logs = [(s / 0.1).log_softmax(1) for s in scores]
    terms = [-(codes[a] * logs[v]).sum(1).mean() for a in range(2) for v in range(4) if a != v]
    torch.testing.assert_close(method(views, batch).loss, torch.stack(terms).mean())


def test_the_order_of_the_local_views_does_not_matter() -> None:
    method = make()
    views, batch = material(local=3)
    torch.testing.assert_close(method(views, batch).loss, method([*views[:2], *views[:1:-1]], batch).loss)


def test_the_queue_is_filled_when_it_is_time_and_used_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(queue_size=15, queue_after=0.2)
    used: list[list[tuple[int, ...]] | None] = []
    forward = method.objective.forward

    def spy(scores: list[Tensor], assign: int, queue_scores: list[Tensor] | None) -> object:
        used.append(None if queue_scores is None else [tuple(q.shape) for q in queue_scores])
        assert queue_scores is None or not any(q.requires_grad for q in queue_scores)
        assert [tuple(s.shape) for s in scores] == [(ROWS, 4)] * 2
        return forward(scores, assign, queue_scores)

    monkeypatch.setattr(method.objective, "forward", spy)
    sizes = []
    for seed in range(6):
        take(method, seed)
        sizes.append([len(queue) for queue in method.queues])
    # Steps are counted before the queue is asked: two of ten steps are the first 20 %.
    assert sizes == [[0, 0], [6, 6], [12, 12], [15, 15], [15, 15], [15, 15]]
    assert used == [None] * 4 + [[(15, 4), (15, 4)]] * 2


def test_the_queue_changes_the_codes_and_nothing_else() -> None:
    method = make(queue_size=2 * ROWS, queue_after=0, freeze_share=0)
    for seed in (1, 2):
        take(method, seed)
    views, batch = material(3)
    loss = method(views, batch).loss
    scores = [method.prototypes(z) for z in embeddings(method, views)]
    queued = [method.prototypes(queue.get()[0]).detach() for queue in method.queues]
    codes = [sinkhorn(torch.cat([q, s.detach()]))[-ROWS:] for q, s in zip(queued, scores)]
    wanted = swapped_prediction(scores, codes, 0.1).loss
    torch.testing.assert_close(loss, wanted)
    without = swapped_prediction(scores, [sinkhorn(s.detach()) for s in scores], 0.1).loss
    assert not torch.isclose(loss, without)
    weight = method.encoder.net.weight
    torch.testing.assert_close(*(torch.autograd.grad(value, weight)[0] for value in (loss, wanted)))


def test_each_view_has_a_queue_of_its_own_unit_embeddings() -> None:
    method = make(queue_size=2 * ROWS, queue_after=0)
    views, _ = material(1)
    expected = embeddings(method, views)
    take(method, 1)
    for queue, rows in zip(method.queues, expected):
        torch.testing.assert_close(queue.get()[0], rows.detach())


def test_a_queue_wants_two_global_views_in_front() -> None:
    method = make(queue_size=8)
    views, batch = material(local=1)
    with pytest.raises(ShapeError, match=r"SwAV: global views: found 3; allowed: 2 \(one queue each\)"):
        method([*views[:2], views[0], *views[2:]], batch)
    with pytest.raises(ShapeError, match=r"SwAV: roles of the views: .*allowed: global ones, then local ones"):
        method(views[::-1], batch)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"SwAV.queue_size: found -1; allowed: a whole number from 0"):
        make(queue_size=-1)
    with pytest.raises(ConfigError, match=r"SwAV: objective: found NTXent; allowed: .*SwappedPrediction"):
        make(objective=NTXent())


def test_a_constant_encoders_loss_is_at_chance() -> None:
    method = make(prototypes=4)
    for parameter in method.projector.parameters():
        parameter.data.zero_()
    step = method(*material())
    assert float(step.loss) == pytest.approx(step.chance) == pytest.approx(math.log(4))
    assert float(step.parts["code_perplexity"]) == pytest.approx(4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"freeze_share": 2.0}, "SwAV.freeze_share: found 2.0; allowed: a share of the training, from 0 to 1"),
        ({"queue_after": 15}, "SwAV.queue_after: found 15; allowed: a share of the training, from 0 to 1"),
        ({"queue_after": math.nan}, "SwAV.queue_after: found nan"),
        ({"queue_size": -1}, "SwAV.queue_size: found -1"),
        ({"prototypes": 1}, "SwAV.prototypes: found 1; allowed: 2 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        make(**settings)
