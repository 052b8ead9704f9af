"""Ratings and times out of columns of any type."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from counterpoint_graphrec.data.numbers import floats, seconds

pytestmark = pytest.mark.unit

DAY = 86_400


@pytest.mark.parametrize(
    "column",
    [
        pa.array([4, None, 3]),
        pa.array([4.0, float("inf"), 3.0]),
        pa.array([" 4 ", "n/a", "3e0"]),
        pa.chunked_array([["4", ""], ["3.0"]]),
        pa.array(["4", "4,5", "+3"]).dictionary_encode(),
    ],
)
def test_what_is_no_number_is_nan(column):
    assert np.array_equal(floats(column), [4, np.nan, 3], equal_nan=True)


def test_a_column_of_nothing():
    assert np.isnan(floats(pa.array([None, None]))).all() and np.isnan(seconds(pa.array([None]))).all()
    assert floats(pa.chunked_array([], pa.float64())).shape == (0,)


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-03",
        "1970-01-03 00:00:00",
        "1970-01-03T00:00:00Z",
        "1970-01-03 00:00",
        "1970/01/03",
        "03.01.1970",
        "1970-01-03T00:00:00.000+00:00",
        str(2 * DAY),
    ],
)
def test_dates_are_seconds_since_1970(text):
    assert np.array_equal(seconds(pa.array([text, "soon", None])), [2 * DAY, np.nan, np.nan], equal_nan=True)


def test_dates_of_arrow_and_numbers_as_they_are():
    assert seconds(pa.array([datetime.date(1970, 1, 2)])).tolist() == [DAY]
    assert seconds(pa.array([datetime.datetime(1970, 1, 2, 0, 0, 0, 500_000)])).tolist() == [DAY + 0.5]
    assert seconds(pa.array([881250949, 5])).tolist() == [881250949, 5]
    assert np.isnan(seconds(pa.array(["1970-13-45"]))).all()
