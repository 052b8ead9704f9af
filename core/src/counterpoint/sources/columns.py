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


def targets(values: Sequence[Any]) -> Tensor | None:
    """``(N,)`` float32 (NaN where the value is None or ""), or None where a value is anything but a number.

    Raises:
        DataError: a value is infinite.
    """
    known = [value for value in values if value is not None and value != ""]
    if not known or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in known):
        return None
    if any(math.isinf(value) for value in known):
        raise DataError(
            message("target", "the value inf", "finite numbers", "Leave the cell empty where it is unknown.")
        )
    return torch.tensor([math.nan if value is None or value == "" else value for value in values], dtype=torch.float32)


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
