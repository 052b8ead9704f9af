"""A table of pictures and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterpoint.errors import DataError, message
from counterpoint.sources import columns as labelling
from counterpoint_multimodal.data import columns as choose
from counterpoint_multimodal.data.files import PairFiles
from counterpoint_multimodal.data.pairs import Records
from counterpoint_multimodal.data.tables import SUFFIXES, Columns, read

_LOOKED = 100


class PairTable(PairFiles):
    """A CSV, TSV, Parquet or JSON-lines table with a column of image paths and one or more of captions.

    Rows of one picture become one sample with all their captions. A picture that is missing, or a row without a
    caption, comes back as `Damaged`. A column ``split`` (train, val, test) gives the official parts.

    Args:
        source: the table.
        image: column of the paths; None: the first of image, path, file, filename and their like.
        caption: column of the captions, or several between commas; a value may be a list (of Parquet or JSON, or
            written as JSON in a text). None: caption, text, title, description or their like, with caption_2 and so on;
            "" for none, and pictures alone.
        label: column of the classes; None: label, class, category or target where there is one; "" for none.
        root: folder that the paths are relative to; None: the table's own.
        max_side: pictures whose shorter side is longer are read smaller, by a whole factor. None: full size.
        lower: captions in small letters.

    Raises:
        DataError: no such table or column, no row, none of its pictures, or one picture in two splits.
    """

    def __init__(
        self,
        source: str,
        *,
        image: str | None = None,
        caption: str | None = None,
        label: str | None = None,
        root: str | None = None,
        max_side: int | None = None,
        lower: bool = False,
    ) -> None:
        place = Path(source).expanduser()
        columns, notes = read(place)
        names, where = list(columns), place.name
        path = choose.needed("image", image, choose.IMAGE, names, where)
        rest = [name for name in names if name != path]
        written = choose.several("caption", caption, choose.CAPTION, rest, where)
        classes = labelling.column("label", label, choose.LABEL, [name for name in rest if name not in written])
        split = labelling.column("split", None, ("split",), rest)
        folder = place.parent if root is None else Path(root).expanduser()
        records = _records(columns, path, written, split, notes)
        records.captioned = caption != ""
        if classes is not None:
            records.labels = labelling.classes(records.columns[classes])
        _look(folder, records.names, path)
        self._open(folder, records, max_side, lower)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a file ending in .csv, .tsv, .parquet, .jsonl or .ndjson."""
        place = Path(source).expanduser()
        return place.suffix.lower() in SUFFIXES and place.is_file()


def _records(columns: Columns, path: str, written: list[str], split: str | None, notes: list[str]) -> Records:
    """One record a picture, in the order of their first rows."""
    strange = next((value for value in columns[path] if value is not None and not isinstance(value, (str, int))), None)
    if strange is not None:
        raise DataError(message("image", f"{type(strange).__name__} in column {path!r}", "paths of files"))
    paths = ["" if value is None else str(value).strip() for value in columns[path]]
    captions = choose.texts(columns, written, len(paths))
    first: dict[str, int] = {}
    for row, name in enumerate(paths):
        kept = first.setdefault(name, row)
        if kept != row:
            captions[kept] += captions[row]
            if split is not None and columns[split][row] != columns[split][kept]:
                found = f"{name!r} in both {columns[split][kept]} and {columns[split][row]}"
                raise DataError(message("split", found, "each picture in one part"))
    rows, nameless = [row for name, row in first.items() if name], paths.count("")
    again = len(paths) - nameless - len(rows)
    notes += [f"Left out: {nameless:,} rows without a path."] if nameless else []
    notes += [f"Several rows of one picture: {again:,}, whose captions are joined to its first row."] if again else []
    facts: dict[str, list[Any]] = {name: [values[row] for row in rows] for name, values in columns.items()}
    return Records(
        names=[paths[row] for row in rows],
        captions=[captions[row] for row in rows],
        parts=None if split is None else labelling.parts(facts[split]),
        columns=facts,
        notes=notes,
    )


def _look(root: Path, names: list[str], column: str) -> None:
    """An error where none of the pictures is there, rather than a run in which every sample is damaged."""
    if not names:
        raise DataError(message("image", f"no path in column {column!r}", "at least one"))
    some = names[:: max(1, len(names) // _LOOKED)]
    if not any((root / name).is_file() for name in some):
        todo = "Name the folder that the paths are relative to: root=..."
        raise DataError(message("image", f"no file {names[0]!r} in {root}", "paths of files", todo))
