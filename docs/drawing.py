"""A stand-alone SVG of lines over epochs, in colours that can be read on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from counterpoint.report.charts import nice_ticks

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 44, 40
COLORS = ("#8492a6", "#d97706", "#0d9488", "#6366f1", "#db2777", "#65a30d")
STYLE = (
    'text{font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Helvetica,Arial,sans-serif;fill:#7687a0}'
    ".grid{stroke:#8492a6;stroke-opacity:.25}.line{fill:none;stroke-width:1.6;stroke-linejoin:round;opacity:.85}"
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        name: in the legend; ``""``: it is another line of the one before.
        points: ``(x, y)``, x rising.
        color: number of its colour.
        mark: a point with a dot, or None.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: int
    mark: tuple[float, float] | None = None


def svg(title: str, curves: Sequence[Curve], unit: str) -> str:
    """The picture as a file's text.

    Args:
        title: what it shows, for those who do not see it and above the lines.
        curves: one or more, each with a point at least.
        unit: name of the horizontal axis.
    """
    every = [point for curve in curves for point in curve.points]
    low, high = min(y for _, y in every), max(y for _, y in every)
    levels = nice_ticks(low, high if high > low else low + 1)
    times = nice_ticks(0, max(x for x, _ in every))
    last = max(x for x, _ in every)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * point[0] / last
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (levels[-1] - point[1]) / (levels[-1] - levels[0])

    parts = [_level(place((0, level))[1], level) for level in levels]
    parts += [_time(place((time, levels[0]))[0], time, unit if time == 0 else "") for time in times if time <= last]
    for curve in curves:
        color = COLORS[curve.color % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, curve.points))
        parts.append(f'<polyline class="line" stroke="{color}" points="{path}"/>')
        if curve.mark is not None:
            x, y = place(curve.mark)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
    lines = "\n".join([*parts, *_legend(curves)])
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<title id="t">{escape(title)}</title>'
    return f'{head}\n<style>{STYLE}</style>\n<text x="{LEFT}" y="14">{escape(title)}</text>\n{lines}\n</svg>\n'


def _level(y: float, value: float) -> str:
    line = f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    return f'{line}<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'


def _time(x: float, value: float, unit: str) -> str:
    told = f"{unit} {value:g}" if unit else f"{value:g}"
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{told}</text>'


def _legend(curves: Sequence[Curve]) -> list[str]:
    parts, x = [], LEFT
    for curve in curves:
        if curve.name:
            parts.append(f'<circle cx="{x + 5}" cy="30" r="5" fill="{COLORS[curve.color % len(COLORS)]}"/>')
            parts.append(f'<text x="{x + 15}" y="34">{escape(curve.name)}</text>')
            x += 34 + 8 * len(curve.name)
    return parts
