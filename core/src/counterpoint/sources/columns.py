"""Columns of a table: which is what by its name, and what classes and splits stand in them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.errors import DataError, message, nearest
from counterpoint.parts import SPLITS


def column(argument: str, asked: str | None, usual: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that ``asked`` names, else the first of the ``usual`` ones that is there, else None.

    Args:
        argument: what an error calls the option.
        asked: a column; "" for none; None for a guess.
        usual: names that are looked for, as `plain` writes them.
        names: those that there are.

    Raises:
        DataError: the column that is asked for is not there.
    """
    if asked is None:
        known = {plain(name): name for name in reversed(names)}
        return next((known[name] for name in usual if name in known), None)
    if asked and asked not in names:
        raise DataError(message(argument, repr(asked), "a column of the table", nearest(asked, names).strip()))
    return asked or None


def plain(name: str) -> str:
    """``"Image Path"`` -> ``"image_path"``, ``"productName"`` -> ``"product_name"``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^0-9a-z]+", "_", spaced.lower()).strip("_")


def classes(values: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """Labels ``(N,)`` int64 (-1 where the value is None or "") and the classes' names, in order.

    Raises:
        DataError: a value is a list or a dictionary.
    """
    strange = next((value for value in values if isinstance(value, (list, dict))), None)
    if strange is not None:
        todo = 'Name another column, or none: label="".'
        raise DataError(message("label", f"the {type(strange).__name__} {strange!r:.60}", "a text or a number", todo))
    known = {value for value in values if value is not None and value != ""}
    ordered = sorted(known, key=lambda value: (isinstance(value, str), value))  # 2 before 10 where they are numbers
    number = {value: index for index, value in enumerate(ordered)}
    labels = np.array([number.get(value, -1) for value in values], dtype=np.int64)
    return labels, [str(value) for value in ordered]


def targets(values: Sequence[Any], meant: bool = False) -> Tensor | None:
    """Numbers ``(N,)`` float64, which keeps time stamps apart; NaN where the value is None or "".

    Args:
        values: of the column.
        meant: that the column holds targets: then numbers may be written as text, as a reader gives all of them where
            one cell is none, and a cell that is none among numbers is an error.

    Returns:
        None where nothing is a number; unless ``meant``, also where a value is anything else.

    Raises:
        DataError: a value is infinite, or no number among numbers where these are meant.
    """
    found = [_number(value, meant) for value in values]
    strange = next((row for row, number in enumerate(found) if number is None), None)
    known = sum(number is not None and not math.isnan(number) for number in found)
    if not known or (strange is not None and not meant):
        return None
    infinite = next((row for row, number in enumerate(found) if number is not None and math.isinf(number)), None)
    wrong = strange if strange is not None else infinite
    if wrong is not None:
        cell = f"{values[wrong]!r:.60} in row {wrong + 1}"
        raise DataError(message("target", cell, "finite numbers", "Leave the cell empty where it is unknown."))
    return torch.tensor(found, dtype=torch.float64)


def _number(value: Any, written: bool) -> float | None:
    """The number that a cell holds, NaN where it is empty, None where it is none; ``written``: or holds as text."""
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float, str) if written else (int, float)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def target_of(targets: Tensor | None, index: int) -> float | None:
    """What a sample says of row ``index``: None where nothing is known."""
    value = math.nan if targets is None else float(targets[index])
    return None if math.isnan(value) else value


def parts(values: Sequence[Any]) -> np.ndarray:
    """``(N,)`` int64: 0 for train, 1 for val, 2 for test.

    Raises:
        DataError: a value is none of them.
    """
    lowered = [str(value).lower() for value in values]
    unknown = sorted(set(lowered) - set(SPLITS))
    if unknown:
        raise DataError(message("split", f"{unknown[0]!r} in the table", ", ".join(SPLITS)))
    return np.array([SPLITS.index(value) for value in lowered], dtype=np.int64)
