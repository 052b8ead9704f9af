"""What a search found, as a table, as JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

LISTED = 3  # neighbours per query in the table of several queries; JSON, CSV and the sheet have them all


@dataclass(frozen=True, slots=True)
class Answer:
    """One query with its neighbours, the nearest first."""

    query: str
    paths: Sequence[str]
    scores: Sequence[float]


def show(answers: Iterable[Answer], form: str) -> None:
    """Print ``answers`` as ``table``, ``json`` or ``csv``; the latter two as they come."""
    if form == "table":
        _table(list(answers))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(["query", "rank", "score", "path"])
        for answer in answers:
            writer.writerows([answer.query, *row] for row in _rows(answer))
    else:
        print("[", end="")
        for number, answer in enumerate(answers):
            neighbours = [{"rank": rank, "score": float(score), "path": path} for rank, score, path in _rows(answer)]
            text = json.dumps({"query": answer.query, "neighbours": neighbours}, indent=2)
            print(",\n" if number else "\n", text, sep="", end="")
        print("\n]")


def _rows(answer: Answer) -> list[tuple[int, str, str]]:
    pairs = enumerate(zip(answer.scores, answer.paths), 1)
    return [(rank, f"{score:.4f}", path) for rank, (score, path) in pairs]


def _table(answers: list[Answer]) -> None:
    console = Console()
    if len(answers) == 1:
        table = Table("rank", "cosine", "picture", title=Text(f"Nearest neighbours of {answers[0].query}"))
        for rank, score, path in _rows(answers[0]):
            table.add_row(str(rank), score, Text(path, overflow="fold"))
    else:
        table = Table("query", "nearest (cosine)", title="Nearest neighbours")
        for answer in answers:
            nearest = (f"{path} {float(score):.2f}" for _, score, path in _rows(answer)[:LISTED])
            table.add_row(Text(answer.query), Text(", ".join(nearest)))
    console.print(table)
