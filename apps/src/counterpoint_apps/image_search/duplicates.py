"""``duplicates``: near-duplicates of an index, in groups."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from counterpoint.errors import DataError, message
from counterpoint_apps.pictures.index import PictureIndex
from counterpoint_apps.pictures.sheet import tile
from counterpoint_apps.pictures.sources import Folder
from counterpoint_apps.shell import tell
from counterpoint_vision.tasks import NearDuplicates, Tile, contact_sheet
from counterpoint_vision.tasks.duplicates import Group

LISTED = 50  # groups in the printed table
ON_SHEET = 40  # groups on the contact sheet


def duplicates(path: Path, threshold: float | None, sheet: Path | None, form: str) -> list[Group]:
    """Find the near-duplicates of an index; prints and draws them.

    Args:
        path: the index.
        threshold: least cosine of a pair; None: chosen from the histogram of scores.
        sheet: PNG file, or None.
        form: ``table``, ``json`` or ``csv``.

    Returns:
        The groups.

    Raises:
        DataError: no index, a damaged one, or one of fewer than two pictures.
    """
    console = Console(stderr=True)
    index = PictureIndex(path)
    if len(index.store) < 2:
        raise DataError(message("index", f"{len(index.store)} pictures in {path}", "two or more"))
    task = NearDuplicates(threshold)
    names, vectors = _read(index)
    working = console.status("comparing all pictures with each other")
    with working if console.is_terminal else nullcontext():
        groups = task.fit(torch.from_numpy(vectors)).groups()
    _show(groups, names, form)
    assert task.chosen is not None
    copies = sum(len(group.rows) - 1 for group in groups)
    told = f"{len(groups):,} groups, {copies:,} pictures that another stands for"
    tell(f"Threshold {task.chosen.value:.4f}: {task.chosen.reason}. {told}.")
    if sheet is not None:
        _draw(index, groups[:ON_SHEET], names, sheet)
    return groups


def _read(index: PictureIndex) -> tuple[list[str], np.ndarray]:
    """Paths and ``(N, D)`` vectors, in the order of the paths."""
    names: list[str] = []
    vectors = np.empty((len(index.store), index.store.dim), dtype=np.float32)
    for keys, _, piece in index.store.read(vectors=True):
        assert piece is not None
        vectors[len(names) : len(names) + len(keys)] = piece
        names += keys
    order = sorted(range(len(names)), key=names.__getitem__)
    return [names[i] for i in order], vectors[order]


def _show(groups: list[Group], names: list[str], form: str) -> None:
    if form == "json":
        rows = [[{"path": names[r], "score": round(s, 4)} for r, s in zip(g.rows, g.scores)] for g in groups]
        print(json.dumps(rows, indent=2))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(["group", "score", "path"])
        for number, group in enumerate(groups, 1):
            writer.writerows([number, f"{s:.4f}", names[r]] for r, s in zip(group.rows, group.scores))
    elif groups:
        table = Table("group", "pictures (cosine to the first)", title="Near-duplicates")
        for number, group in enumerate(groups[:LISTED], 1):
            pairs = zip(group.rows[1:], group.scores[1:])
            table.add_row(
                str(number), Text("\n".join([names[group.rows[0]], *(f"{names[r]} {s:.4f}" for r, s in pairs)]))
            )
        Console().print(table)
        if len(groups) > LISTED:
            print(f"… and {len(groups) - LISTED:,} more groups: --csv has them all")
    else:
        print("No near-duplicates.")


def _draw(index: PictureIndex, groups: list[Group], names: list[str], sheet: Path) -> None:
    if not groups:
        tell(f"No near-duplicates, so {sheet} was not drawn.")
        return

    folder = Folder.of(index.described)

    def made(row: int, score: float | None = None) -> Tile:
        return tile(folder, names[row], score)

    first = [made(group.rows[0]) for group in groups]
    others = [[made(r, s) for r, s in zip(group.rows[1:], group.scores[1:])] for group in groups]
    contact_sheet(first, others, sheet, "Near-duplicates", ("first", "near-duplicates of it"))
    tell(f"Groups as a picture: {sheet}")
