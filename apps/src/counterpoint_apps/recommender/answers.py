"""What a recommender answers, as a table, as JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from counterpoint_apps.shell import tell
from counterpoint_graphrec.tasks import Answer

HEADS = {"user": "score", "fold-in": "score", "likeness": "cosine", "popularity": "users"}
TITLES = {
    "user": "For user {}",
    "fold-in": "For somebody who likes {}",
    "likeness": "Beside {}",
    "popularity": "Most popular, for {}",
}


def show(answers: Sequence[Answer], form: str) -> None:
    """Print ``answers`` as ``table``, ``json`` or ``csv``; their notes go to standard error."""
    if form == "json":
        print(json.dumps([described(answer) for answer in answers], indent=2, ensure_ascii=False))
    elif form == "csv":
        _csv(answers)
    else:
        console = Console()
        for answer in answers:
            console.print(_table(answer))
    for answer in answers:
        for note in answer.notes:
            tell(note if len(answers) == 1 or answer.asked in note else f"{answer.asked}: {note}")


def described(answer: Answer) -> dict[str, Any]:
    """An answer as plain values."""
    return {
        "asked": answer.asked,
        "rule": answer.rule,
        "notes": list(answer.notes),
        "items": [
            {
                "rank": rank,
                "item": hit.item,
                "title": hit.title,
                "group": hit.group,
                "score": hit.score,
                "because": [
                    {"item": why.item, "title": why.title, "part": why.part, "share": why.share} for why in hit.reasons
                ],
                **({} if hit.shared is None else {"users_of_both": hit.shared}),
            }
            for rank, hit in enumerate(answer.hits, 1)
        ],
    }


def number(score: float, rule: str) -> str:
    """A score to be read."""
    return f"{score:,.0f}" if rule == "popularity" else f"{score:.3g}"


def _csv(answers: Sequence[Answer]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(["asked", "rank", "item", "title", "group", "score", "rule", "because"])
    for answer in answers:
        for rank, hit in enumerate(answer.hits, 1):
            why = "; ".join(reason.title for reason in hit.reasons)
            score = number(hit.score, answer.rule)
            writer.writerow([answer.asked, rank, hit.item, hit.title, hit.group, score, answer.rule, why])


def _table(answer: Answer) -> Table:
    """Columns that say nothing (ids that are the titles, no categories, no reasons) are left out."""
    hits = answer.hits
    ids, groups = any(hit.item != hit.title for hit in hits), any(hit.group for hit in hits)
    reasons, shared = any(hit.reasons for hit in hits), any(hit.shared is not None for hit in hits)
    table = Table(title=Text(TITLES[answer.rule].format(answer.asked)), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold", ratio=2 if reasons else None)
    for head, there in (("id", ids), ("category", groups)):
        if there:
            table.add_column(head)
    table.add_column(HEADS[answer.rule], justify="right")
    if shared:
        table.add_column("users of both", justify="right")
    if reasons:
        table.add_column("because of", overflow="fold", ratio=3)
    for rank, hit in enumerate(hits, 1):
        row = [Text(hit.title), *([Text(hit.item)] if ids else []), *([Text(hit.group)] if groups else [])]
        row += [Text(number(hit.score, answer.rule))]
        row += [Text(str(hit.shared))] if shared else []
        row += [Text(", ".join(f"{why.title} {why.share:.0%}" for why in hit.reasons))] if reasons else []
        table.add_row(str(rank), *row)
    return table
