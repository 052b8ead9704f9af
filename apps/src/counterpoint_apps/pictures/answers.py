"""What was found, as a table, as JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

BETWEEN = " · "  # captions of one picture
LISTED = 3  # hits per query in the table of several queries; JSON, CSV and the sheet have them all


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture that was found, or whatever else answers a query.

    Attributes:
        key: of the picture: its path, or its name in a data set.
        score: cosine to what was searched for; None: nothing was.
        caption: what is written beside it, or "".
    """

    key: str
    score: float | None
    caption: str = ""

    @property
    def name(self) -> str:
        """What a person calls it: its first caption, else the end of its key."""
        return self.caption.split(BETWEEN)[0] or self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Answer:
    """One query with its hits, the nearest first."""

    query: str
    hits: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Words:
    """What the parts of an answer are called.

    Attributes:
        query, hit, hits: keys in JSON; the first two are columns in CSV as well.
        title: of the table.
        captions: whether hits have them.
        score: what a score is.
    """

    query: str = "query"
    hit: str = "path"
    hits: str = "neighbours"
    title: str = "Nearest neighbours"
    captions: bool = False
    score: str = "cosine"

    def rows(self, answer: Answer) -> list[dict[str, int | str]]:
        """One row a hit: rank, score, its key and, where there are captions, its caption."""
        rows: list[dict[str, int | str]] = [
            {"rank": rank, "score": f"{hit.score:.4f}", self.hit: hit.key} for rank, hit in enumerate(answer.hits, 1)
        ]
        return [{**row, "caption": h.caption} for row, h in zip(rows, answer.hits)] if self.captions else rows


def show(answers: Iterable[Answer], form: str, words: Words | None = None) -> None:
    """Print ``answers`` as ``table``, ``json`` or ``csv``; the latter two as they come."""
    words = words or Words()
    if form == "table":
        _table(list(answers), words)
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow([words.query, "rank", "score", words.hit, *(["caption"] if words.captions else [])])
        for answer in answers:
            writer.writerows([answer.query, *row.values()] for row in words.rows(answer))
    else:
        print("[", end="")
        for number, answer in enumerate(answers):
            hits = [{**row, "score": float(row["score"])} for row in words.rows(answer)]
            text = json.dumps({words.query: answer.query, words.hits: hits}, indent=2)
            print(",\n" if number else "\n", text, sep="", end="")
        print("\n]")


def _table(answers: list[Answer], words: Words) -> None:
    console = Console()
    if len(answers) == 1:
        columns = ["rank", words.score, words.hit, *(["caption"] if words.captions else [])]
        table = Table(*columns, title=Text(f"{words.title}: {answers[0].query}"))
        for row in words.rows(answers[0]):
            table.add_row(*(Text(str(value), overflow="fold") for value in row.values()))
    else:
        table = Table(words.query, f"nearest ({words.score})", title=words.title)
        for answer in answers:
            nearest = (f"{hit.name if words.captions else hit.key} {hit.score:.2f}" for hit in answer.hits[:LISTED])
            table.add_row(Text(answer.query), Text(", ".join(nearest)))
    console.print(table)
