"""Charts as HTML and SVG: lines over time and score distributions.

A chart's lines are an SVG that stretches with the page; its words are HTML laid over it, so that they keep their size
on a phone. Every chart has a text for those who do not see it, and says its values on hover and by arrow keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from counterpoint.report.section import number, number_whole, percent
from counterpoint.training.scores import BINS, Histogram

MOST_POINTS = 300
"""Points of a line; beyond them each is the mean of its neighbours."""
LABEL_GAP = 9.0
"""Percent of the plot's height between two labels at the lines' ends."""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: at its end.
        points: ``(x, y)``; those that are not finite leave a gap.
        color: number of its colour, from 1; 0 is the quiet grey of what is compared with.
        dash: ``""`` solid, ``"dash"`` or ``"dot"``.
    """

    name: str
    points: Points
    color: int = 1
    dash: str = ""

    @property
    def last(self) -> float:
        """The newest finite value."""
        return next((y for _, y in reversed(self.points) if math.isfinite(y)), math.nan)


def level(name: str, value: float, like: Sequence[Line], dash: str = "dash") -> Line:
    """A level line as wide as the lines ``like``."""
    xs = [x for line in like for x, _ in line.points]
    return Line(name, [(min(xs), value), (max(xs), value)], 0, dash)


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over the updates.

    Attributes:
        title: heading.
        lines: what is drawn; empty ones are left out.
        note: one short sentence on how to read it.
        share: whether values are shares, shown as percentages from 0.
        zero: whether the axis begins at 0, where 0 means something and a close-up would make a fall of little.
        x: what the horizontal axis counts.
        unit: behind a number of that axis, "% of the items"; by default ``x`` stands before it.
    """

    title: str
    lines: Sequence[Line]
    note: str = ""
    share: bool = False
    zero: bool = False
    x: str = "update"
    unit: str = ""

    def __html__(self) -> str:
        drawn = [line for line in self.lines if any(math.isfinite(y) for _, y in line.points)]
        if not drawn:
            return Markup(
                '<figure class="chart"><figcaption><b>{}</b> <span>no value that is a number</span>'
                "</figcaption></figure>"
            ).format(self.title)
        frame = _Frame.around(drawn, self.share or self.zero)
        show: Callable[[float | None], str] = percent if self.share else number
        return _figure(self, drawn, frame, show)

    def moment(self, x: float) -> str:
        """A place on the horizontal axis, in words."""
        return f"{number_whole(x)}{self.unit}" if self.unit else f"{self.x} {number_whole(x)}"

    def spoken(self, drawn: Sequence[Line], show: Callable[[float | None], str]) -> str:
        """The chart in words."""
        told = [f"{line.name} {show(line.points[0][1])} to {show(line.last)}" for line in drawn if line.color]
        told += [f"{line.name} {show(line.last)}" for line in drawn if not line.color]
        return f"{self.title} by {self.x}: {'; '.join(told)}"


@dataclass(frozen=True, slots=True)
class _Frame:
    """The axes: what part of the numbers is shown, and where a value lies in percent."""

    left: float
    right: float
    low: float
    high: float
    ticks: list[float] = field(default_factory=list)

    @classmethod
    def around(cls, lines: Sequence[Line], zero: bool) -> _Frame:
        xs = [x for line in lines for x, _ in line.points]
        ys = [y for line in lines for _, y in line.points if math.isfinite(y)]
        low, high = min(ys), max(ys)
        if zero or 0 <= low < 0.5 * high:
            low = 0.0
        if high - low < 1e-9 * max(1.0, abs(high)):
            room = 0.5 * abs(high) if abs(high) > 1e-9 else 0.5  # all values are one: it stands in the middle
            low, high = low - room, high + room
        ticks = nice_ticks(low, high)
        return cls(min(xs), max(xs), min(low, ticks[0]), max(high, ticks[-1]), ticks)

    def x(self, value: float) -> float:
        """Percent from the left; of one moment alone at the right, where the names stand."""
        return 100 * (value - self.left) / (self.right - self.left) if self.right > self.left else 100.0

    def y(self, value: float) -> float:
        return 100 * (self.high - value) / (self.high - self.low)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span ``low`` to ``high``: the first at most ``low``, the last at least ``high``."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10, 20) if (high - low) / (step * factor) <= most - 1)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(tick * step, 12) for tick in range(first, last + 1)]


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points, each the mean of those that it stands for."""
    size = math.ceil(len(points) / MOST_POINTS)
    if size <= 1:
        return list(points)
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(chunk[-1][0], sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _figure(chart: LineChart, drawn: Sequence[Line], frame: _Frame, show: Callable[[float | None], str]) -> Markup:
    paths = Markup("").join(_path(line, frame) for line in drawn)
    grid = Markup("").join(
        Markup('<span class="tick" style="top:{:.2f}%"><i>{}</i></span>').format(
            frame.y(tick), f"{100 * tick:.0f}%" if chart.share else tick_label(tick, frame.ticks)
        )
        for tick in frame.ticks
    )
    ends = Markup("").join(
        Markup('<span class="end c{}" style="top:{:.2f}%">{}</span>').format(line.color, at, line.name)
        for line, at in _ends(drawn, frame)
    )
    # a chart with one moment only has no line to follow
    lone = ' class="plot lone"' if frame.left == frame.right else ' class="plot"'
    return Markup(
        '<figure class="chart" data-chart="{data}"><figcaption><b>{title}</b> <span>{note}</span></figcaption>'
        '<div{lone} role="img" tabindex="0" aria-label="{spoken}">{grid}'
        '<div class="lines"><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{paths}</svg>'
        '<i class="cross" hidden></i></div>{ends}'
        '<span class="x0">{left}</span><span class="x1">{right}</span></div></figure>'
    ).format(
        data=json.dumps(_data(chart, drawn, frame, show)),
        title=chart.title,
        note=chart.note,
        lone=Markup(lone),
        spoken=chart.spoken(drawn, show),
        grid=grid,
        paths=paths,
        ends=ends,
        left=number_whole(frame.left) if frame.right > frame.left else "",
        right=chart.moment(frame.right),
    )


def tick_label(tick: float, ticks: Sequence[float]) -> str:
    """One of the round numbers ``ticks`` of an axis, with as many digits as tell each from the next."""
    step = ticks[1] - ticks[0]
    if step < 1e-5 or max(map(abs, ticks)) >= 1e6:
        return f"{tick:.3g}".replace("-", "−")
    digits = next(count for count in range(12) if abs(round(step, count) - step) < 1e-9 * step or count == 11)
    return f"{tick:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def _path(line: Line, frame: _Frame) -> Markup:
    """The line with its gaps; a point between two of them, or the only one, is a dot that can be seen."""
    pieces: list[list[str]] = [[]]
    for x, y in thinned(line.points):
        if math.isfinite(y):
            pieces[-1].append(f"{frame.x(x):.2f} {frame.y(y):.2f}")
        else:
            pieces.append([])
    drawn = "".join(f"M{'L'.join(piece)}" for piece in pieces if piece)
    alone = "".join(f"M{piece[0]}h0.01" for piece in pieces if len(piece) == 1)  # round ends make it a dot
    path = Markup('<path class="line c{} {}" d="{}"/>').format(line.color, line.dash, drawn)
    return path + Markup('<path class="line c{} point" d="{}"/>').format(line.color, alone) if alone else path


def _ends(drawn: Sequence[Line], frame: _Frame) -> list[tuple[Line, float]]:
    """Where the names stand: at the lines' ends, pushed apart where they would lie on each other."""
    wanted = sorted(((line, frame.y(line.last)) for line in drawn), key=lambda pair: pair[1])
    placed: list[tuple[Line, float]] = []
    for line, at in wanted:
        placed.append((line, max(at, placed[-1][1] + LABEL_GAP) if placed else at))
    over = placed[-1][1] - 100
    if over > 0:  # the lowest ones go up again, as far as needed
        lowest = 100.0
        for place in range(len(placed) - 1, -1, -1):
            line, at = placed[place]
            placed[place] = (line, min(at, lowest))
            lowest = placed[place][1] - LABEL_GAP
    return placed


def _data(
    chart: LineChart, drawn: Sequence[Line], frame: _Frame, show: Callable[[float | None], str]
) -> list[dict[str, object]]:
    """What hovering shows: for each line its points in percent and in words."""
    return [
        {
            "name": line.name,
            "color": line.color,
            "points": [[round(frame.x(x), 2), chart.moment(x), show(y)] for x, y in thinned(line.points)],
        }
        for line in drawn
    ]


_RIDGES = {
    "positive": (1, "positives", "two views of one sample"),
    "negative": (2, "negatives", "views of different samples"),
    "queue": (3, "queue", "a view and the memory's rows of other samples"),
}
"""Colour, name and meaning of each kind of score."""


@dataclass(frozen=True, slots=True)
class Ridges:
    """Distributions of cosine scores, one row an epoch: positives, negatives, and a memory's where there is one.

    Attributes:
        histograms: of the epochs to show, oldest first.
    """

    histograms: Sequence[Histogram]

    def __html__(self) -> str:
        epochs = sorted({one.epoch for one in self.histograms})
        rows = Markup("").join(self._row(epoch) for epoch in epochs)
        axis = Markup("").join(
            Markup('<span style="left:{}%">{}</span>').format(50 + 50 * at, str(at).replace("-", "−"))
            for at in (-1, -0.5, 0, 0.5, 1)
        )
        shown = {one.pair for one in self.histograms}
        keys = Markup("").join(
            Markup('<span class="key c{}">{}: {}</span>').format(color, name, told)
            for pair, (color, name, told) in _RIDGES.items()
            if pair in shown or pair != "queue"
        )
        return Markup(
            '<figure class="ridges"><figcaption>{}</figcaption>{}'
            '<div class="axis" aria-hidden="true">{}</div><p class="axis-name">cosine similarity</p></figure>'
        ).format(keys, rows, axis)

    def _row(self, epoch: int) -> Markup:
        order = [*_RIDGES]
        found = sorted((one for one in self.histograms if one.epoch == epoch), key=lambda one: order.index(one.pair))
        areas = Markup("").join(_area(one) for one in found[::-1])
        told = ", ".join(f"{_RIDGES[one.pair][1]} mean {number(one.mean)}" for one in found)
        return Markup(
            '<div class="ridge"><span class="name">epoch {}</span>'
            '<div role="img" aria-label="epoch {}: {}" data-tip="{}" tabindex="0">'
            '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{}</svg></div></div>'
        ).format(epoch + 1, epoch + 1, told, f"epoch {epoch + 1}: {told}", areas)


def _area(histogram: Histogram) -> Markup:
    """The outline of one histogram, its highest bin as high as the row, and a tick at its mean."""
    top, color = max(histogram.counts) or 1, _RIDGES[histogram.pair][0]
    middles = [(100 * (i + 0.5) / BINS, 100 - 92 * n / top) for i, n in enumerate(histogram.counts)]
    outline = "".join(f"L{x:.2f} {y:.2f}" for x, y in middles)
    mean = 50 + 50 * histogram.mean if math.isfinite(histogram.mean) else 0.0
    return Markup('<path class="area c{}" d="M0 100{}L100 100Z"/><path class="mean c{}" d="M{:.2f} 100V84"/>').format(
        color, outline, color, mean
    )
