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
class Hit:
    """One picture that was found.

    Attributes:
        key: of the picture: its path, or its name in a data set.
        score: cosine to what was searched for; None: nothing was.
        caption: what is written beside it, or "".
    """

    key: str
    score: float | None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One query with its neighbours, the nearest first."""

    query: str
    hits: Sequence[Hit]


def show(answers: Iterable[Answer], form: str, captions: bool = False) -> None:
    """Print ``answers`` as ``table``, ``json`` or ``csv``; the latter two as they come, with ``captions`` if asked."""
    if form == "table":
        _table(list(answers), captions)
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        names = ["rank", "score", "path", *(["caption"] if captions else [])]
        writer.writerow(["query", *names])
        for answer in answers:
            writer.writerows([answer.query, *row.values()] for row in _rows(answer, captions))
    else:
        print("[", end="")
        for number, answer in enumerate(answers):
            neighbours = [{**row, "score": float(row["score"])} for row in _rows(answer, captions)]
            text = json.dumps({"query": answer.query, "neighbours": neighbours}, indent=2)
            print(",\n" if number else "\n", text, sep="", end="")
        print("\n]")


def _rows(answer: Answer, captions: bool) -> list[dict[str, int | str]]:
    return [
        {"rank": rank, "score": f"{hit.score:.4f}", "path": hit.key, **({"caption": hit.caption} if captions else {})}
        for rank, hit in enumerate(answer.hits, 1)
    ]


def _table(answers: list[Answer], captions: bool) -> None:
    console = Console()
    if len(answers) == 1:
        title = Text(f"Nearest neighbours of {answers[0].query}")
        table = Table("rank", "cosine", "picture", *(["caption"] if captions else []), title=title)
        for row in _rows(answers[0], captions):
            table.add_row(*(Text(str(value), overflow="fold") for value in row.values()))
    else:
        table = Table("query", "nearest (cosine)", title="Nearest neighbours")
        for answer in answers:
            nearest = (f"{hit.key} {hit.score:.2f}" for hit in answer.hits[:LISTED])
            table.add_row(Text(answer.query), Text(", ".join(nearest)))
    console.print(table)
