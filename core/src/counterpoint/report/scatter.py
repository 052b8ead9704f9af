"""Predicted beside true numbers: a dot a sample, and the diagonal where both are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from counterpoint.report.charts import nice_ticks, tick_label
from counterpoint.report.section import number


@dataclass(frozen=True, slots=True)
class Scatter:
    """Pairs of true and predicted numbers on equal axes.

    Attributes:
        title: heading.
        pairs: ``(true, predicted)``.
        note: one short sentence on how to read it.
    """

    title: str
    pairs: Sequence[tuple[float, float]]
    note: str = ""

    def __html__(self) -> str:
        ends = [value for pair in self.pairs for value in pair]
        low, high = min(ends), max(ends)
        ticks = nice_ticks(low, high if high > low else low + 1)
        first, last = ticks[0], ticks[-1]

        def place(value: float) -> float:
            return 100 * (value - first) / (last - first)

        dots = "".join(f"M{place(true):.1f} {100 - place(told):.1f}h.01" for true, told in self.pairs)
        across = Markup("").join(self._tick(place(tick), tick_label(tick, ticks)) for tick in ticks)
        spoken = f"{self.title}: {len(self.pairs)} samples, true {number(low)} to {number(high)}"
        return Markup(
            '<figure class="chart scatter"><figcaption><b>{title}</b> <span>{note}</span></figcaption>'
            '<div class="plot" role="img" aria-label="{spoken}">{across}<div class="lines">'
            '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">'
            '<path class="line c0 dash" d="M0 100L100 0"/><path class="points c1" d="{dots}"/></svg></div>'
            '<span class="axis-x">true</span><span class="axis-y">predicted</span></div></figure>'
        ).format(title=self.title, note=self.note, spoken=spoken, across=across, dots=dots)

    @staticmethod
    def _tick(at: float, told: str) -> Markup:
        """One round number on both axes."""
        left = Markup('<span class="tick" style="top:{:.1f}%"><i>{}</i></span>').format(100 - at, told)
        return left + Markup('<span class="under" style="left:{:.1f}%">{}</span>').format(at, told)
