"""Supervised contrastive learning against the "out" form written out, term by term."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from counterpoint.errors import ShapeError
from counterpoint.objectives import NTXent, SupCon, _rows, _tiles, sup_con_loss

pytestmark = pytest.mark.unit

T = 0.4


def draw(views: int, size: int) -> Tensor:
    rows = torch.randn(views + 1, size, 4, generator=torch.Generator().manual_seed(views), dtype=torch.float64)
    return (rows[1:] + rows[0]).requires_grad_()


def dense(rows: Tensor, classes: list[int], queue: Tensor | None = None) -> Tensor:
    """``classes``: one number per sample; equal numbers are positives."""
    views, size, width = rows.shape
    z = (rows / rows.norm(dim=2, keepdim=True)).reshape(-1, width)
    own = classes * views
    terms = []
    for r in range(views * size):
        others = [z[r] @ z[a] / T for a in range(views * size) if a != r]
        if queue is not None:
            others += list(queue @ z[r] / queue.norm(dim=1) / T)
        denominator = torch.stack(others).logsumexp(0)
        positives = [z[r] @ z[p] / T for p in range(views * size) if p != r and own[p] == own[r]]
        terms.append(-sum(s - denominator for s in positives) / len(positives))
    return torch.stack(terms).mean()


CASES = {
    "labels": ([0, 1, 0, 2, 1], None, [0, 1, 0, 2, 1]),
    "some unknown": ([0, -1, 0, -1, 0], None, [0, 10, 0, 11, 0]),
    "one class": ([3, 3, 3, 3, 3], None, [0, 0, 0, 0, 0]),
    "no labels": (None, None, [0, 1, 2, 3, 4]),
    "duplicates without labels": (None, [5, 6, 5, 7, 8], [0, 1, 0, 2, 3]),
    "an unlabelled duplicate of a labelled one": ([0, -1, -1, 1, 0], [9, 8, 9, 7, 6], [0, 10, 0, 1, 0]),
    "known labels are believed before duplicates": ([0, 1, 2, 2, 2], [9, 9, 7, 6, 5], [0, 1, 2, 2, 2]),
    "large labels": ([10**12, -1, 10**12, -1, 5], None, [0, 10, 0, 11, 1]),
}


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_the_formula(
    case: str, views: int, queued: bool, tiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tiled:  # neither the single function for small batches nor one tile for all
        monkeypatch.setattr(_rows, "SMALL", 0)
        monkeypatch.setattr(_tiles, "WHOLE", 0)
        monkeypatch.setattr(_tiles, "CPU_TILE", 3)
    labels, ids, classes = CASES[case]
    rows = draw(views, 5)
    queue = torch.randn(3, 4, generator=torch.Generator().manual_seed(8), dtype=torch.float64) if queued else None
    expected = dense(rows, classes, queue)
    given_labels = None if labels is None else torch.tensor(labels)
    given_ids = None if ids is None else torch.tensor(ids)
    ours = sup_con_loss(list(rows), given_ids, queue, labels=given_labels, temperature=T).loss
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
    mine, theirs = torch.autograd.grad(ours, rows)[0], torch.autograd.grad(expected, rows)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_without_labels_and_with_two_views_it_is_nt_xent() -> None:
    rows = list(draw(2, 6))
    alone = torch.arange(6)
    expected = NTXent(T)(rows).loss
    torch.testing.assert_close(SupCon(T)(rows).loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(SupCon(T)(rows, labels=alone).loss, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(SupCon(T)(rows, labels=torch.full((6,), -1)).loss, expected, rtol=1e-11, atol=0)


def test_the_part_p_positive_is_that_of_the_other_views() -> None:
    rows = list(draw(2, 6))
    parts = SupCon(T)(rows, labels=torch.arange(6)).parts
    torch.testing.assert_close(parts["p_positive"], NTXent(T)(rows).parts["p_positive"], rtol=1e-10, atol=0)


def test_classes_that_come_together_lower_the_loss() -> None:
    centres = torch.eye(3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    apart = SupCon()([centres[labels]] * 2, labels=labels).loss
    mixed = SupCon()([centres[labels.roll(1).sort().values]] * 2, labels=labels).loss
    assert apart < mixed
    assert float(apart) == pytest.approx(math.log(3 + 8 * math.exp(-10)), rel=1e-9)


def test_labels_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"labels: found torch.int64 \(3,\); allowed: int64 \(4,\)"):
        SupCon()(list(draw(2, 4)), labels=torch.arange(3))


def test_chance_counts_all_other_rows() -> None:
    objective = SupCon()
    assert objective.chance(8) == pytest.approx(math.log(15))
    objective(list(draw(3, 4)), negatives=torch.randn(5, 4), labels=torch.zeros(4, dtype=torch.int64))
    assert objective.chance(8) == pytest.approx(math.log(28))
