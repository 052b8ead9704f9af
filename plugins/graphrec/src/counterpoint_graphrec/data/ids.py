"""Ids of any kind as numbers, and many short texts without an object for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow
import pyarrow.compute

from counterpoint.errors import DataError, message, suggestion

_arrow: Any = pyarrow  # its functions carry no types
NEAR = 10_000
"""Names that are searched for the one that was meant."""


class Texts(Sequence[str]):
    """Texts in one buffer: a million names cost their letters, and each is made when it is asked for.

    Args:
        values: an Arrow array, or any texts.
    """

    def __init__(self, values: Any) -> None:
        if not isinstance(values, _arrow.Array):
            values = _arrow.array(values, type=_arrow.string())
        self.values = values.cast(_arrow.string()).fill_null("")

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> str | Texts:
        """One text, or a range of them."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return str(self.values[int(index)].as_py())

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values.to_pylist())

    def take(self, numbers: np.ndarray) -> Texts:
        """The texts at ``numbers`` (-1: an empty one), in that order."""
        return Texts(self.values.take(_arrow.array(numbers, mask=numbers < 0)))

    def find(self, text: str) -> int:
        """Number of the first that equals ``text``, or -1."""
        return int(_arrow.compute.index(self.values, text).as_py())

    def numbers_of(self, others: Texts) -> np.ndarray:
        """``(len(others),)`` int64: where each of ``others`` is among these, -1 for nowhere."""
        found = _arrow.compute.index_in(others.values, value_set=self.values).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)

    def empty(self) -> np.ndarray:
        """``(len,)`` bool: which have no letter."""
        return np.asarray(_arrow.compute.equal(self.values, "").to_numpy(zero_copy_only=False))

    def or_else(self, others: Texts) -> Texts:
        """These, and those of ``others`` where they are empty."""
        return Texts(_arrow.compute.if_else(_arrow.compute.equal(self.values, ""), others.values, self.values))

    def bytes(self) -> bytes:
        """All lengths and letters, for a digest."""
        lengths = np.asarray(_arrow.compute.binary_length(self.values), dtype=np.int64)
        return lengths.tobytes() + "".join(self).encode()


def found(texts: Texts, name: str, argument: str) -> int:
    """Number of ``name`` among ``texts``.

    Raises:
        DataError: it is not there; the nearest of the first 10,000 is named.
    """
    number = texts.find(name)
    if number < 0:
        todo = suggestion(name, texts[:NEAR]) or f"For example {texts[0]!r}."
        raise DataError(message(argument, repr(name), f"one of the {len(texts):,} in the data", todo))
    return number


def numbered(column: Any) -> tuple[np.ndarray, Texts]:
    """A column of ids -> ``(R,)`` int32 numbers in order of first appearance (-1: empty), and the ids by number.

    Spaces around an id are no part of it. Whole numbers that were read as floats (``12.0``, as happens beside a missing
    value) become whole again.

    Args:
        column: Arrow array or chunked array of text, numbers, or a dictionary of them.
    """
    if isinstance(column, _arrow.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    if _arrow.types.is_floating(column.type):
        column = _whole(column)
    if not _arrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return _merged(codes.astype(np.int32, copy=False), column.dictionary)


def _whole(column: Any) -> Any:
    """A column of floats as whole numbers, if that is what they are; NaN is nothing."""
    column = _arrow.compute.if_else(_arrow.compute.is_nan(column), None, column)
    try:
        return column.cast(_arrow.int64())
    except _arrow.ArrowInvalid:  # there is a fraction
        return column


def _merged(codes: np.ndarray, values: Any) -> tuple[np.ndarray, Texts]:
    """Codes whose texts differ in surrounding space only become one; empty ones become -1."""
    again = _arrow.compute.utf8_trim_whitespace(Texts(values).values).dictionary_encode()
    names = Texts(again.dictionary)
    place = again.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    empty = names.find("")
    if empty >= 0:
        place[place == empty] = -1
    if empty >= 0 or len(names) < len(place):
        codes = np.append(place, np.int32(-1))[codes]  # -1 takes what was appended
    return codes, names
