"""Compressed rows against their dense form, with and without values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from counterpoint_graphrec import csr
from counterpoint_graphrec.csr import CSR

pytestmark = pytest.mark.unit

ROWS, WIDTH = 12, 9


@pytest.fixture(params=["ones", "values"])
def pair(request):
    """A matrix with an empty row and an empty column, and its dense form."""
    generator = torch.Generator().manual_seed(0)
    filled = torch.rand(ROWS, WIDTH, generator=generator) < 0.4
    filled[2], filled[:, 4] = False, False
    matrix = CSR.of(filled.nonzero()[:, 1], filled.sum(1), WIDTH)
    dense = filled.double()
    if request.param == "values":
        values = torch.rand(int(filled.sum()), dtype=torch.float64, generator=generator)
        matrix = replace(matrix, values=values)
        dense[filled] = values
    return matrix, dense


def dense_of(matrix):
    return matrix @ torch.eye(matrix.width, dtype=torch.float64)


def test_product(pair):
    matrix, dense = pair
    x = torch.randn(WIDTH, 5, dtype=torch.float64)
    torch.testing.assert_close(matrix @ x, dense @ x, atol=1e-14, rtol=0)
    assert torch.equal(dense_of(matrix), dense)


def test_transpose(pair):
    matrix, dense = pair
    assert torch.equal(dense_of(matrix.transpose()), dense.T)
    twice = matrix.transpose().transpose()
    assert torch.equal(twice.columns, matrix.columns) and torch.equal(twice.starts, matrix.starts)


@pytest.mark.parametrize("rows", [[], [2], [5, 0, 5, 2, 11]])
def test_rows_taken(pair, rows):
    matrix, dense = pair
    taken = matrix.take(torch.tensor(rows, dtype=torch.int64))
    assert torch.equal(dense_of(taken), dense[rows])
    assert torch.equal(dense_of(taken.transpose()), dense[rows].T)


def test_indices_are_narrow_until_they_do_not_fit(monkeypatch):
    columns, counts = torch.tensor([1, 0, 2]), torch.tensor([1, 2])
    assert CSR.of(columns, counts, 3).columns.dtype == CSR.of(columns, counts, 3).starts.dtype == torch.int32
    monkeypatch.setattr(csr, "NARROW", 2)
    wide = CSR.of(columns, counts, 3)
    assert wide.columns.dtype == wide.starts.dtype == torch.int64
    assert torch.equal(dense_of(wide).nonzero(), torch.tensor([[0, 1], [1, 0], [1, 2]]))
    assert torch.equal(dense_of(wide.transpose()), dense_of(wide).T)
