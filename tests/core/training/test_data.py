"""Which samples, in which order, under which views: a function of (seed, step) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.errors import DataError
from counterpoint.training.data import StepSampler, filled, loader, mix, workers_for
from counterpoint.training.settings import Settings
from counterpoint.types import Batch, Damaged
from toy import Digits

pytestmark = pytest.mark.unit

INDICES = np.arange(100, 203)


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def test_an_epoch_is_a_permutation_without_the_uneven_rest() -> None:
    sampler = StepSampler(INDICES, 10, seed=0)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 10
    assert {len(batch) for batch in drawn} == {10}
    assert len(set(flat(drawn))) == 100
    assert set(flat(drawn)) <= set(INDICES.tolist())


def test_each_epoch_and_each_seed_has_its_own_order() -> None:
    sampler = StepSampler(INDICES, 10, seed=0)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert list(StepSampler(INDICES, 10, seed=1)) != first
    left_out = [set(INDICES.tolist()) - set(flat(epoch)) for epoch in (first, second)]
    assert left_out[0] != left_out[1], "the rest that is dropped must not always be the same samples"


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(4, 90), batch=st.integers(1, 9), ranks=st.integers(1, 4), seed=st.integers(0, 9))
def test_ranks_are_disjoint_and_together_one_process(samples: int, batch: int, ranks: int, seed: int) -> None:
    each = [list(StepSampler(np.arange(samples), batch, seed, rank=r, ranks=ranks)) for r in range(ranks)]
    whole = list(StepSampler(np.arange(samples), batch * ranks, seed))
    assert [flat([part[step] for part in each]) for step in range(len(each[0]))] == whole
    assert all(len(part) == samples // (batch * ranks) for part in each)


@pytest.mark.parametrize("skip", [0, 1, 4, 9])
def test_resume_draws_the_tail(skip: int) -> None:
    whole = list(StepSampler(INDICES, 10, seed=3, epoch=2))
    resumed = StepSampler(INDICES, 10, seed=3, epoch=2, skip=skip)
    assert list(resumed) == whole[skip:]
    resumed.set_epoch(3)
    assert list(resumed) == list(StepSampler(INDICES, 10, seed=3, epoch=3)), "only the first epoch is cut"
    assert len(resumed) == 10, "the trainer counts by the whole epoch"


def test_mix_gives_unrelated_seeds() -> None:
    seeds = [mix(seed, "views", step, rank) for seed in range(5) for step in range(50) for rank in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    assert np.abs(bits.mean(0) - 0.5).max() < 0.1
    assert mix(1, 23) != mix(12, 3)
    assert mix(0, "order", 0) == mix(0, "order", 0)


@pytest.mark.parametrize("every", [2, 3])
def test_stand_ins_have_their_twins_content(every: int) -> None:
    """Places of damaged samples are filled; the fillers are duplicates by content, so they are never negatives."""
    dataset = Digits("digits", count=40, damaged=every)
    batch = filled(dataset.batch(list(range(12))), 12)
    sound = [i for i in range(12) if i % every]
    assert len(batch) == 12
    assert len(batch.damaged) == 12 - len(sound)
    assert batch.index.tolist() == (sound * 2)[:12]
    for row, index in enumerate(batch.index.tolist()):
        twin = dataset[index]
        assert int(batch.content[row]) == twin.content
        assert int(batch.label[row]) == twin.label
        assert torch.equal(batch.data["digit"][row], twin.data["digit"])


def test_stand_ins_of_lists_and_without_labels() -> None:
    images = [torch.zeros(2, 3), torch.ones(4, 5)]
    batch = Batch({"image": images}, torch.tensor([7, 9]), torch.tensor([70, 90]), damaged=[Damaged(8, "x", "torn")])
    made = filled(batch, 3)
    assert [v.shape for v in made.data["image"]] == [(2, 3), (4, 5), (2, 3)]
    assert made.content.tolist() == [70, 90, 70]
    assert made.label is None
    assert made.damaged == batch.damaged


def test_nothing_that_can_be_read_is_an_error() -> None:
    dataset = Digits("digits", count=40, damaged=1)
    with pytest.raises(
        DataError, match=r"None of the 4 samples of a batch can be read: digit-0, digit-1, digit-2, … \(made so\)"
    ):
        filled(dataset.batch([0, 1, 2, 3]), 4)


def test_content_that_is_not_known_is_not_equal() -> None:
    """A dataset that gives no content ids must not have all its samples taken for duplicates of each other."""
    from counterpoint.types import Sample

    dataset = Digits("digits", count=4)
    batch = dataset.collate([Sample(i, {"digit": torch.zeros(1)}) for i in range(4)])
    assert len(set(batch.content.tolist())) == 4


@pytest.mark.parametrize("fill", [True, False])
def test_reading_processes_give_the_same_batches(fill: bool) -> None:
    dataset = Digits("digits", count=60, damaged=7)
    sampler = StepSampler(np.arange(60), 8, seed=1)
    alone, together = (list(loader(dataset, sampler, workers=w, fill=fill)) for w in (0, 2))
    assert len(alone) == len(together) == 7
    for a, b in zip(alone, together):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.content, b.content)
        assert torch.equal(a.label, b.label)
        assert torch.equal(a.data["digit"], b.data["digit"])
        assert a.damaged == b.damaged
        assert len(a) == (8 if fill else 8 - len(a.damaged))
    assert sum(len(a.damaged) for a in alone) > 0


def test_workers_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Digits("digits", count=10)
    assert workers_for(dataset, Settings(workers=3)) == 3
    assert workers_for(dataset, Settings()) == 0, "data in memory"
    monkeypatch.setattr(dataset, "in_memory", False, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert workers_for(dataset, Settings(threads=5)) == 3
    assert workers_for(dataset, Settings(threads=8)) == 1
    assert workers_for(dataset, Settings(workers=0)) == 0


def test_targets_go_with_their_samples() -> None:
    batch = Digits("digits", count=12, damaged=5, ordered=True).batch(list(range(12)))
    made = filled(batch, 12).to("cpu")
    assert made.target.dtype == torch.float32 and len(made.target) == 12
    assert made.target[:8].tolist() == made.label[:8].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert torch.equal(made.target[9:], batch.target[:3])
    assert Digits("digits", count=12, ordered=True).batch([0]).target.isnan().all(), "unknown"
