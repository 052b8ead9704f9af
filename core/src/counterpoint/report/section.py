"""A section of the report and what it is made of. Strings are escaped wherever they come to stand."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from markupsafe import Markup

from counterpoint.evaluation.table import NONE, share

Mark = Literal["", "query", "same", "other"]


ROOM = 16
"""Characters of a caption below a tile."""


class HasHtml(Protocol):
    """Anything that renders itself; ``markupsafe`` and the page's template know the protocol."""

    def __html__(self) -> str:
        """HTML in which everything untrusted is escaped."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image.

    Attributes:
        data: bytes of a PNG, JPEG or WebP file.
        media_type: ``"image/png"``, ``"image/jpeg"`` or ``"image/webp"``.
    """

    data: bytes
    media_type: Literal["image/png", "image/jpeg", "image/webp"] = "image/png"

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` address, so that the page needs no other file."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


Preview = Picture | str
"""What a person sees of a sample: a picture, or text for modalities that are read."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    Attributes:
        title: heading.
        lead: one or two sentences below it: what is shown, and how to read it.
        parts: in order; strings become paragraphs, the rest renders itself.
    """

    title: str
    lead: str = ""
    parts: Sequence[str | HasHtml] = ()


@dataclass(frozen=True, slots=True)
class Tile:
    """One sample of a gallery.

    Attributes:
        preview: what a person sees of it.
        caption: one line below.
        note: a second line, e.g. the score.
        mark: whether it is a query, of the query's class, or of another.
    """

    preview: Preview
    caption: str = ""
    note: str = ""
    mark: Mark = ""

    def __html__(self) -> str:
        if isinstance(self.preview, Picture):
            shown = Markup('<img src="{}" alt="{}">').format(self.preview.uri, self.caption)
        else:
            shown = Markup('<span class="text">{}</span>').format(self.preview)
        return Markup(
            '<figure class="tile {mark}"><div>{shown}</div><figcaption><span title="{caption}">{sign}{short}</span>'
            "<small>{note}</small></figcaption></figure>"
        ).format(
            mark=self.mark,
            shown=shown,
            sign=_SIGNS[self.mark],
            caption=self.caption,
            short=_end_of_path(self.caption),
            note=self.note,
        )


def _end_of_path(caption: str) -> str:
    """The file's name of a long path: below a tile there is room for its folders or for what tells it from others."""
    is_path = len(caption) > ROOM and "/" in caption.strip("/") and not any(map(str.isspace, caption))
    return caption.rstrip("/").rpartition("/")[2] if is_path else caption


_SIGNS: dict[Mark, str | Markup] = {
    "": "",
    "query": "",
    "same": Markup('<b class="sign" title="what was looked for">✓ </b>'),
    "other": Markup('<b class="sign" title="something else">✗ </b>'),
}


@dataclass(frozen=True, slots=True)
class Gallery:
    """Rows of samples.

    Attributes:
        rows: tiles, row by row.
        label: what a screen reader calls it.
    """

    rows: Sequence[Sequence[Tile]]
    label: str

    def __html__(self) -> str:
        rows = [Markup('<div class="row">{}</div>').format(Markup("").join(row)) for row in self.rows]
        return Markup('<div class="gallery" role="group" aria-label="{}">{}</div>').format(
            self.label, Markup("").join(rows)
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row.

    Attributes:
        head: headings; none is shown where all are empty.
        rows: cells; numbers are set right.
        label: what a screen reader calls it.
        marked: numbers of rows that stand out.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    label: str
    marked: frozenset[int] = field(default_factory=frozenset)

    def __html__(self) -> str:
        head = Markup("").join(Markup('<th scope="col">{}</th>').format(cell) for cell in self.head)
        named = Markup("<thead><tr>{}</tr></thead>").format(head) if any(self.head) else Markup("")
        rows = []
        for number, (first, *cells) in enumerate(self.rows):
            name = Markup('<th scope="row">{}</th>').format(first)
            rest = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells)
            kind = Markup(' class="marked"') if number in self.marked else Markup("")
            rows.append(Markup("<tr{}>{}{}</tr>").format(kind, name, rest))
        return Markup(
            '<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table>'
            "{head}<tbody>{rows}</tbody></table></div>"
        ).format(label=self.label, head=named, rows=Markup("").join(rows))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list.

    Attributes:
        text: what it is.
        note: something short at its end.
        right: whether it is what was looked for.
    """

    text: str
    note: str = ""
    right: bool = False

    def __html__(self) -> str:
        sign = Markup('<b class="sign" title="what was looked for">✓ </b>') if self.right else Markup("")
        return Markup("<li{}><span>{}{}</span><small>{}</small></li>").format(
            Markup(' class="right"') if self.right else Markup(""), sign, self.text, self.note
        )


@dataclass(frozen=True, slots=True)
class Lists:
    """What was given and what came of it, two lists beside each other, case after case.

    Attributes:
        given: heading of the left lists.
        answer: heading of the right lists, which are numbered.
        cases: name, note, left and right list of each case.
        label: what a screen reader calls it.
    """

    given: str
    answer: str
    cases: Sequence[tuple[str, str, Sequence[Entry], Sequence[Entry]]]
    label: str

    def __html__(self) -> str:
        cases = [
            Markup(
                '<div class="pair"><b>{}<span>{}</span></b><div><h3>{}</h3><ul>{}</ul></div>'
                "<div><h3>{}</h3><ol>{}</ol></div></div>"
            ).format(name, note, self.given, Markup("").join(left), self.answer, Markup("").join(right))
            for name, note, left, right in self.cases
        ]
        return Markup('<div class="lists" role="group" aria-label="{}">{}</div>').format(
            self.label, Markup("").join(cases)
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """Samples, and beside each a numbered list of what was found for it.

    Attributes:
        cases: sample and list of each case.
        label: what a screen reader calls it.
    """

    cases: Sequence[tuple[Tile, Sequence[Entry]]]
    label: str

    def __html__(self) -> str:
        cases = [
            Markup('<div class="answer">{}<ol>{}</ol></div>').format(asked, Markup("").join(found))
            for asked, found in self.cases
        ]
        return Markup('<div class="answers" role="group" aria-label="{}">{}</div>').format(
            self.label, Markup("").join(cases)
        )


@dataclass(frozen=True, slots=True)
class Folded:
    """Something long behind a line that opens it."""

    summary: str
    content: HasHtml | str

    def __html__(self) -> str:
        return Markup("<details><summary>{}</summary>{}</details>").format(self.summary, self.content)


@dataclass(frozen=True, slots=True)
class Code:
    """Text as it is, line by line."""

    text: str

    def __html__(self) -> str:
        return Markup('<pre tabindex="0"><code>{}</code></pre>').format(self.text)


@dataclass(frozen=True, slots=True)
class Grid:
    """Parts beside each other where there is room."""

    parts: Sequence[HasHtml]

    def __html__(self) -> str:
        return Markup('<div class="grid">{}</div>').format(Markup("").join(self.parts))


def number(value: float | None) -> str:
    """A number for people: three significant digits, thousands apart; "–" for nothing, "not a number" for NaN."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{'−' if value < 0 else ''}∞"
    size = abs(value)
    if size >= 1000:
        text = number_whole(value)
    elif size >= 100:
        text = f"{value:.0f}"
    elif size >= 10:
        text = f"{value:.1f}"
    elif size >= 0.1 or size == 0:
        text = f"{value:.2f}"
    elif size >= 0.001:
        text = f"{value:.3f}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def cosine(value: float) -> str:
    """A mean cosine, which two digits tell; no minus before nothing."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def number_whole(value: float) -> str:
    """A count with thousands apart."""
    return f"{value:,.0f}".replace(",", "\u202f")


def measure(metric: str, value: float | None) -> str:
    """The value of a metric: shares as percentages; "–" where it is not defined, as the terminal shows it."""
    if value is None or math.isnan(value):
        return NONE
    return percent(value) if share(metric) else number(value)


def percent(value: float | None) -> str:
    """A share as a percentage with one digit after the point."""
    return f"{100 * value:.1f}%" if value is not None and math.isfinite(value) else number(value)
