"""A table with a column of image paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from torch import Tensor

from counterpoint.errors import DataError, message
from counterpoint.parts import SPLITS, Dataset
from counterpoint.sources import columns
from counterpoint_vision.data.files import ImageFiles

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path")
LABEL_COLUMNS = ("label", "class", "category", "target")
TARGET_COLUMNS = ("target", "value", "score")
_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})


class ImageTable(ImageFiles):
    """Images named by a CSV, TSV or Parquet table.

    Paths are relative to the table's own folder. A file that is missing comes back as `Damaged`. A column called
    ``split`` (train, val, test) gives the official splits.

    Args:
        source: the table.
        path_column: column of the paths; by default the first of path, file, filename, image and their like.
        label_column: column of the classes (text or whole numbers, empty: unknown); by default label, class, category
            or target where there is one; ``""`` for none. A column called target that holds fractions is no class.
        max_side: images whose shorter side is longer are read smaller. None: full size.
        target_column: column of numbers for regression (empty: unknown); by default target, value or score where there
            is one and it holds numbers; ``""`` for none.

    Raises:
        DataError: no such table or column, an empty table, or a split of another name.
    """

    def __init__(
        self,
        source: str,
        path_column: str | None = None,
        label_column: str | None = None,
        max_side: int | None = None,
        target_column: str | None = None,
    ) -> None:
        place = Path(source).expanduser()
        table = read(place)
        if table.num_rows == 0:
            raise DataError(message("source", f"no row in {source!r}", "a table with at least one image"))
        paths = paths_in(table, path_column)
        target, targets = targets_in(table, target_column)
        label = columns.column("label_column", label_column, LABEL_COLUMNS, table.column_names)
        if label_column is None and label == target and targets is not None and _fractions(targets):
            label = None
        labels, classes = (None, None) if label is None else columns.classes(table[label].to_pylist())
        held = f"the columns are {', '.join(table.column_names)}"
        self.absent = {what: held for what, found in (("labels", label), ("targets", target)) if found is None}
        split = columns.column("split", None, ("split",), table.column_names)
        self._parts = None if split is None else columns.parts(table[split].to_pylist())
        super().__init__(place.parent, paths, labels, classes, max_side, targets)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a file ending in .csv, .tsv or .parquet."""
        place = Path(source).expanduser()
        return place.suffix.lower() in _SUFFIXES and place.is_file()

    def splits(self) -> dict[str, np.ndarray]:
        """From the column ``split`` where there is one; else drawn from each path."""
        if self._parts is None:
            return Dataset.splits(self)
        return {split: np.flatnonzero(self._parts == number) for number, split in enumerate(SPLITS)}


def paths_in(table: Any, asked: str | None = None) -> list[str]:
    """The column of paths, an empty text where there is none.

    Raises:
        DataError: no such column.
    """
    column = columns.column("path_column", asked, PATH_COLUMNS, table.column_names)
    if column is None:
        todo = f"Columns found: {', '.join(table.column_names)}. Name it: --dataset.path_column NAME."
        raise DataError(message("path_column", "none of the usual names", ", ".join(PATH_COLUMNS), todo))
    return ["" if value is None else str(value) for value in table[column].to_pylist()]


def targets_in(table: Any, asked: str | None = None, meant: bool = False) -> tuple[str | None, Tensor | None]:
    """Name and values ``(N,)`` of the column of targets; None where there is none.

    Args:
        table: as pyarrow has it.
        asked: the column; "" for none; None for a guess.
        meant: that a column which is guessed must be targets, and not classes, as one that is asked for must.

    Raises:
        DataError: the column that is asked for is not there, or has a cell that is no number.
    """
    column = columns.column("target_column", asked, TARGET_COLUMNS, table.column_names)
    found = None if column is None else columns.targets(table[column].to_pylist(), meant=meant or bool(asked))
    if asked and found is None:
        raise DataError(message("target_column", f"{asked!r}, which holds no numbers", "a column of numbers"))
    return (column, found) if found is not None else (None, None)


def _fractions(targets: Tensor) -> bool:
    known = targets[targets.isfinite()]
    return bool((known != known.round()).any())


def read(place: Path) -> Any:
    """A table as pyarrow has it.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    if place.suffix.lower() not in _SUFFIXES or not place.is_file():
        raise DataError(message("source", f"no table {str(place)!r}", "a .csv, .tsv or .parquet file"))
    arrow: Any = pyarrow  # its readers carry no types
    try:
        if place.suffix.lower() == ".parquet":
            return arrow.parquet.read_table(place, use_threads=False)
        delimiter = "\t" if place.suffix.lower() == ".tsv" else ","
        # Arrow's threads can outlive the interpreter and abort it (apache/arrow 34314); a table needs none of them.
        read, parse = arrow.csv.ReadOptions(use_threads=False), arrow.csv.ParseOptions(delimiter=delimiter)
        return arrow.csv.read_csv(place, read_options=read, parse_options=parse)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(message("source", f"{place.name}: {error}", "a table that can be read")) from None
