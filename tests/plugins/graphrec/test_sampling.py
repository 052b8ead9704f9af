"""Negatives: never a training item, uniform over the rest, a function of the generator."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from counterpoint.errors import DataError
from counterpoint_graphrec.sampling import UniformNegatives

pytestmark = pytest.mark.unit


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def sampler(touched):
    return UniformNegatives(*touched.shape, *touched.nonzero().unbind(1))


@pytest.mark.parametrize("density", [0.0, 0.2, 0.95])
def test_no_training_item_is_drawn_and_the_rest_is_uniform(density, generator):
    touched = torch.rand(40, 25, generator=generator) < density
    touched[:, 7] = False
    users = torch.arange(40).repeat(2000)
    drawn = sampler(touched)(users, generator)
    assert drawn.dtype == torch.int64 and not touched[users, drawn].any()
    counts = torch.zeros(40, 25).index_put_((users, drawn), torch.ones(len(users)), accumulate=True)
    total = sum(stats.chisquare(row[~own].numpy()).statistic for row, own in zip(counts, touched, strict=True))
    assert 0.001 < stats.chi2.sf(total, df=int((~touched).sum()) - len(touched)) < 0.999


def test_users_at_the_ends_and_those_with_one_item_left(generator):
    touched = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.bool)
    drawn = sampler(touched)(torch.tensor([4, 0, 1, 2, 3, 3]), generator)
    assert drawn[:4].tolist() == [3, 3, 0, 1] and (drawn[4:] < 4).all()


def test_it_is_a_function_of_the_generator(generator):
    draw = sampler(torch.rand(20, 50, generator=generator) < 0.3)
    users = torch.arange(20, dtype=torch.int32)
    first, same, other = (draw(users, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert not torch.equal(draw(users, generator), draw(users, generator))


def test_repeated_pairs_count_once(generator):
    repeated = torch.tensor([0, 0, 0, 1])
    draw = UniformNegatives(2, 3, repeated, torch.tensor([1, 1, 0, 2]))
    assert draw(torch.zeros(50, dtype=torch.int64), generator).unique().tolist() == [2]


def test_a_user_who_touched_everything_is_named(generator):
    touched = torch.zeros(5, 4, dtype=torch.bool)
    touched[3] = True
    draw = sampler(touched)
    assert draw(torch.tensor([0, 1, 2, 4]), generator).shape == (4,)
    with pytest.raises(DataError, match="users: found user 3, who touched all 4 items"):
        draw(torch.tensor([0, 3]), generator)


def test_no_users_and_no_pairs(generator):
    none = torch.zeros(0, dtype=torch.int64)
    draw = UniformNegatives(3, 4, none, none)
    assert draw(none, generator).shape == (0,)
    assert (draw(torch.tensor([2, 2]), generator) < 4).all()
