"""Bars that are made of parts: how much each part contributes to a total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from counterpoint.report.section import percent


@dataclass(frozen=True, slots=True)
class StackedBars:
    """One bar a row, its parts end to end; shares, and the longest bar is as wide as the figure.

    Attributes:
        title: heading.
        parts: names of the parts, in the order in which they lie.
        rows: row name -> value >= 0 of each part.
        note: one short sentence on how to read it.
        marked: the row that stands out.
    """

    title: str
    parts: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    note: str = ""
    marked: str = ""

    def __html__(self) -> str:
        widest = max((sum(values) for values in self.rows.values()), default=0.0) or 1.0
        key = Markup("").join(
            Markup('<span class="key c{}">{}</span>').format(number, name) for number, name in enumerate(self.parts, 1)
        )
        rows = Markup("").join(self._row(name, values, widest) for name, values in self.rows.items())
        return Markup(
            '<figure class="bars"><figcaption><b>{}</b> <span>{}</span></figcaption><p class="keys">{}</p>{}</figure>'
        ).format(self.title, self.note, key, rows)

    def _row(self, name: str, values: Sequence[float], widest: float) -> Markup:
        total = sum(values)
        told = ", ".join(f"{part} {percent(value)}" for part, value in zip(self.parts, values))
        pieces = Markup("").join(
            Markup('<i class="c{}" style="width:{:.2f}%"></i>').format(number, 100 * value / widest)
            for number, value in enumerate(values, 1)
            if value > widest / 1000  # what could not be seen would still take its gap
        )
        return Markup(
            '<div class="stack{}"><span class="name">{}</span><div class="whole" role="img" tabindex="0" '
            'aria-label="{}: {}" data-tip="{}">{}</div><span class="value">{}</span></div>'
        ).format(" marked" if name == self.marked else "", name, name, told, told, pieces, percent(total))
