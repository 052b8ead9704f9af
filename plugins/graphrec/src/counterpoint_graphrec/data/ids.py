"""Ids of any kind as numbers, and many short texts without an object for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import pyarrow
import pyarrow.compute

from counterpoint.errors import DataError, message, nearest

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
        self.values = values.cast(_arrow.string())

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> str | Texts:
        """One text, or a range of them."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.values[int(index)].as_py() or ""

    def __len__(self) -> int:
        return len(self.values)

    def take(self, numbers: np.ndarray) -> Texts:
        """The texts at ``numbers`` (-1: an empty one), in that order."""
        return Texts(_arrow.compute.fill_null(self.values.take(_arrow.array(numbers, mask=numbers < 0)), ""))

    def find(self, text: str) -> int:
        """Number of the first that equals ``text``, or -1."""
        return int(_arrow.compute.index(self.values, text).as_py())

    def bytes(self) -> bytes:
        """All letters and lengths, for a digest."""
        lengths = _arrow.compute.binary_length(self.values).to_numpy(zero_copy_only=False)
        return lengths.astype(np.int64).tobytes() + "".join(self.values.to_pylist()).encode("utf-8", "replace")


def found(texts: Texts, name: str, argument: str) -> int:
    """Number of ``name`` among ``texts``.

    Raises:
        DataError: it is not there; the nearest of the first 10,000 is named.
    """
    number = texts.find(name)
    if number < 0:
        known: Iterable[str] = texts[:NEAR] if len(texts) > NEAR else texts
        hint = nearest(name, known) if len(texts) <= 30 or "Did you mean" in nearest(name, known) else ""
        todo = hint.strip() or f"For example {texts[0]!r}."
        raise DataError(message(argument, repr(name), f"one of the {len(texts):,} in the data", todo))
    return number


def numbered(column: Any) -> tuple[np.ndarray, Texts]:
    """A column of ids -> ``(R,)`` int32 numbers in order of first appearance (-1: empty), and the ids by number.

    Spaces around an id are no part of it. Whole numbers stay as they are written; those that were read as floats
    (``12.0``, as happens beside a missing value) become whole again.

    Args:
        column: Arrow array or chunked array of text, whole numbers or a dictionary of them.
    """
    if isinstance(column, _arrow.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, _arrow.ChunkedArray):  # no chunk at all
        column = _arrow.concat_arrays(column.chunks)
    if _arrow.types.is_floating(column.type):
        column = _whole(column)
    if not _arrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return _merged(codes.astype(np.int32, copy=False), column.dictionary)


def _whole(column: Any) -> Any:
    compute = _arrow.compute
    sound = compute.and_(compute.is_finite(column), compute.equal(compute.floor(column), column))
    whole = compute.all(compute.or_(sound, compute.is_nan(column)), skip_nulls=True).as_py()
    column = compute.if_else(compute.is_nan(column), None, column)
    return column.cast(_arrow.int64()) if whole is not False else column


def _merged(codes: np.ndarray, values: Any) -> tuple[np.ndarray, Texts]:
    """Codes whose texts differ in surrounding space only become one; empty ones become -1."""
    again = _arrow.compute.utf8_trim_whitespace(values.cast(_arrow.string()).fill_null("")).dictionary_encode()
    names = Texts(again.dictionary)
    place = again.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    empty = names.find("")
    if empty >= 0:
        place[place == empty] = -1
    if empty >= 0 or not np.array_equal(place, np.arange(len(place))):
        codes = np.append(place, np.int32(-1))[codes]
    return codes, names
