"""Ratings and times out of columns of any type; what cannot be read becomes NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

_arrow: Any = pyarrow  # its functions carry no types
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_DATES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y")


def floats(column: Any) -> np.ndarray:
    """``(R,)`` float64, NaN where there is no number."""
    column = _flat(column)
    kind = column.type
    if _arrow.types.is_null(kind):
        return np.full(len(column), np.nan)
    if _arrow.types.is_string(kind) or _arrow.types.is_large_string(kind):
        text = _arrow.compute.utf8_trim_whitespace(column)
        fits = _arrow.compute.match_substring_regex(text, _NUMBER)
        column = _arrow.compute.if_else(fits, text, None)
    values = column.cast(_arrow.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    return np.where(np.isinf(values), np.nan, values)


def seconds(column: Any) -> np.ndarray:
    """``(R,)`` float64 times, NaN where there is none: numbers as they are, dates as seconds since 1970 (UTC)."""
    column = _flat(column)
    if _arrow.types.is_temporal(column.type):
        return _epoch(column)
    values = floats(column)
    if not _arrow.types.is_string(column.type) or not np.isnan(values).any():
        return values
    text = _arrow.compute.utf8_trim_whitespace(column)
    text = _arrow.compute.replace_substring_regex(text, r"(:[0-9]{2})(\.[0-9]+)?(Z|\+00:00| UTC)?$", r"\1")
    for form in _DATES:
        dates = _epoch(_arrow.compute.strptime(text, format=form, unit="s", error_is_null=True))
        values = np.where(np.isnan(values), dates, values)
    return values


def _epoch(column: Any) -> np.ndarray:
    precise = column.cast(_arrow.timestamp("us"), safe=False)
    micro = precise.cast(_arrow.int64()).cast(_arrow.float64(), safe=False).fill_null(np.nan)
    return np.asarray(micro.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6


def _flat(column: Any) -> Any:
    """One array of plain values."""
    if isinstance(column, _arrow.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks else _arrow.array([], type=column.type)
    if _arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column
