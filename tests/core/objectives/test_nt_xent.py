"""NT-Xent against its formula written out, with more views, one side, a queue, duplicates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.objectives import NTXent, nt_xent_loss

pytestmark = pytest.mark.unit

T = 0.4


def draw(views: int, size: int) -> Tensor:
    rows = torch.randn(views + 1, size, 4, generator=torch.Generator().manual_seed(views), dtype=torch.float64)
    return (rows[1:] + rows[0]).requires_grad_()


def dense(rows: Tensor, anchors: int, ids: list[int] | None = None, queue: Tensor | None = None) -> Tensor:
    """Term by term, over ordered pairs of views and samples."""
    views, size, _ = rows.shape
    z = rows / rows.norm(dim=2, keepdim=True)
    ids = list(range(size)) if ids is None else ids
    terms = []
    for a in range(anchors):
        for b in range(views):
            for i in range(size) if a != b else ():
                logits = [z[a, i] @ z[v, j] / T for v in range(views) for j in range(size) if ids[j] != ids[i]]
                if queue is not None:
                    logits += list(queue @ z[a, i] / queue.norm(dim=1) / T)
                positive = z[a, i] @ z[b, i] / T
                terms.append(torch.stack([positive, *logits]).logsumexp(0) - positive)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("ids", [None, [7, 3, 7, 1], [2, 2, 2, 2]])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("views", [2, 3, 4])
def test_value_and_gradient_are_the_formula(views: int, symmetric: bool, ids: list[int] | None, queued: bool) -> None:
    rows = draw(views, 4)
    queue = torch.randn(3, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64) if queued else None
    expected = dense(rows, views if symmetric else 1, ids, queue)
    given = None if ids is None else torch.tensor(ids)
    ours = nt_xent_loss(list(rows), given, queue, temperature=T, symmetric=symmetric).loss
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
    mine, theirs = torch.autograd.grad(ours, rows)[0], torch.autograd.grad(expected, rows)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_two_views_are_cross_entropy_over_everything_else() -> None:
    rows = draw(2, 6)
    z = torch.nn.functional.normalize(rows.flatten(0, 1))
    logits = (z @ z.t() / T).fill_diagonal_(-torch.inf)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(12).roll(6))
    torch.testing.assert_close(NTXent(T)(list(rows)).loss, expected, rtol=1e-12, atol=1e-12)


def test_a_cold_temperature_neither_overflows_nor_loses_the_answer() -> None:
    rows = draw(2, 6)
    z = torch.nn.functional.normalize(rows.flatten(0, 1))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        logits = (z @ z.t() / 0.002).fill_diagonal_(-torch.inf)
        expected = torch.nn.functional.cross_entropy(logits, torch.arange(12).roll(6))
        ours = NTXent(0.002)([r.to(dtype) for r in rows]).loss
        torch.testing.assert_close(ours.double(), expected, rtol=tolerance, atol=tolerance)


def test_queue_alone() -> None:
    rows = draw(2, 4)
    queue = torch.nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64))
    z = torch.nn.functional.normalize(rows, dim=2)
    positive = (z[0] * z[1]).sum(1) / T
    logits = torch.cat([positive.repeat(2)[:, None], z.flatten(0, 1) @ queue.t() / T], 1)
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(8, dtype=torch.int64))
    ours = NTXent(T, symmetric=True, in_batch=False)(list(rows), negatives=queue)
    torch.testing.assert_close(ours.loss, expected, rtol=1e-12, atol=1e-12)


def test_chance_counts_the_candidates() -> None:
    objective = NTXent(in_batch=True)
    assert objective.chance(8) == pytest.approx(math.log(15))
    objective(list(draw(3, 4)), negatives=torch.randn(10, 4))
    assert objective.chance(8) == pytest.approx(math.log(3 * 7 + 10 + 1))


def test_q_rises_towards_one_with_the_batch() -> None:
    """The reason for large batches that the decoupled form removes."""
    means = [float(NTXent(0.2)(list(draw(2, size))).parts["q_mean"]) for size in (8, 64, 512)]
    assert means == sorted(means) and means[0] < 0.8 < 0.95 < means[-1]
