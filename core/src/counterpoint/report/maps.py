"""The embedding map and the confusion matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from counterpoint.report.section import Picture, Preview, Table, percent

COLORS, SHAPES = 8, ("circle", "square", "triangle", "diamond", "cross")
MARKS = COLORS * len(SHAPES)
"""Classes that have a mark of their own; beyond them marks come again."""
WIDTH, HEIGHT, EDGE = 640, 440, 14
LARGEST_MATRIX = 24
"""Classes of a matrix; of more the largest confusions are listed."""
_MARKS = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "square": "M-3.6-3.6H3.6V3.6H-3.6Z",
    "triangle": "M0-4.6L4.4 3.4H-4.4Z",
    "diamond": "M0-5L5 0L0 5L-5 0Z",
    "cross": "M-4-1.3H-1.3V-4H1.3V-1.3H4V1.3H1.3V4H-1.3V1.3H-4Z",
}


@dataclass(frozen=True, slots=True)
class Dot:
    """A sample on the map.

    Attributes:
        x, y: place, in any unit.
        name: of the sample.
        group: its class, empty where unknown.
        preview: what hovering shows beside name and class.
    """

    x: float
    y: float
    name: str
    group: str = ""
    preview: Preview = ""


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """Samples in the plane; classes differ by colour and by shape, so that colour alone carries nothing.

    Attributes:
        dots: the samples.
        groups: names of the classes, in their order; those that do not occur are left out of the key.
        what: the dots in a word, for who cannot see them.
        scale: size of the marks; less than 1 where thousands must fit.
    """

    dots: Sequence[Dot]
    groups: Sequence[str] = ()
    what: str = "validation samples"
    scale: float = 1.0

    def __html__(self) -> str:
        places = _placed(self.dots)
        used = [name for name in dict.fromkeys(self.groups) if any(dot.group == name for dot in self.dots)]
        style = {name: (1 + i % COLORS, SHAPES[i // COLORS % len(SHAPES)]) for i, name in enumerate(used)}
        size = "" if self.scale == 1 else f" scale({self.scale:g})"
        marks = Markup("").join(
            Markup('<path class="spot c{}" transform="translate({:.1f} {:.1f}){}" d="{}"/>').format(
                color, x, y, size, d
            )
            for (color, d), (x, y) in zip((_look(style, dot.group) for dot in self.dots), places)
        )
        data = [
            {
                "name": dot.name,
                "group": dot.group,
                "picture": dot.preview.uri if isinstance(dot.preview, Picture) else "",
                "text": "" if isinstance(dot.preview, Picture) or dot.preview == dot.name else dot.preview,
            }
            for dot in self.dots
        ]
        about = f" in {len(used)} classes" if used else ""
        return Markup(
            '<figure class="map" data-samples="{data}"><div class="field"><svg viewBox="0 0 {w} {h}" role="img" '
            'tabindex="0" aria-label="Map of {n} {what}{about}; arrow keys go from one to the next">{marks}</svg></div>'
            "{key}</figure>"
        ).format(
            data=json.dumps(data),
            w=WIDTH,
            h=HEIGHT,
            n=len(self.dots),
            what=self.what,
            about=about,
            marks=marks,
            key=_key(style),
        )


def _look(style: dict[str, tuple[int, str]], group: str) -> tuple[int, str]:
    """Colour and outline of a group."""
    color, shape = style.get(group, (0 if style else 1, "circle"))
    return color, _MARKS[shape]


def _key(style: dict[str, tuple[int, str]]) -> Markup:
    """The key; a button of it shows its class alone."""
    if not style:
        return Markup("")
    buttons = Markup("").join(
        Markup(
            '<button type="button" aria-pressed="false" data-group="{}"><svg viewBox="-6 -6 12 12" aria-hidden="true">'
            '<path class="spot c{}" d="{}"/></svg>{}</button>'
        ).format(name, color, _MARKS[shape], name)
        for name, (color, shape) in style.items()
    )
    return Markup('<div class="legend" role="group" aria-label="Show one class">{}</div>').format(buttons)


def _placed(dots: Sequence[Dot]) -> list[tuple[float, float]]:
    """Places in the picture: each axis stretched to its own range."""
    xy = np.array([(dot.x, dot.y) for dot in dots], dtype=np.float64).reshape(-1, 2)
    low, high = xy.min(axis=0), xy.max(axis=0)
    share = (xy - low) / np.where(high > low, high - low, 1.0)
    share = np.where(high > low, share, 0.5)
    size = np.array([WIDTH, HEIGHT]) - 2 * EDGE
    placed: list[tuple[float, float]] = [(float(x), float(y)) for x, y in EDGE + share * size]
    return placed


@dataclass(frozen=True, slots=True)
class Confusion:
    """What was taken for what.

    Attributes:
        counts: ``(C, C)``, rows are the true classes, columns the predicted.
        classes: their names.
    """

    counts: np.ndarray
    classes: Sequence[str]

    def __html__(self) -> str:
        if len(self.classes) > LARGEST_MATRIX:
            return Markup(self.largest().__html__())
        head = Markup("").join(Markup('<th scope="col"><span>{}</span></th>').format(name) for name in self.classes)
        rows = Markup("").join(self._row(number, name) for number, name in enumerate(self.classes))
        return Markup(
            '<div class="scroll" role="region" aria-label="Confusion matrix" tabindex="0"><table class="confusion">'
            "<thead><tr><th>true \\ predicted</th>{}</tr></thead><tbody>{}</tbody></table></div>"
        ).format(head, rows)

    def _row(self, number: int, name: str) -> Markup:
        total = int(self.counts[number].sum()) or 1
        cells = []
        for column, count in enumerate(self.counts[number].tolist()):
            share = count / total
            kind = "right" if column == number else "wrong"
            told = f"{name} taken for {self.classes[column]}: {count} of {total}"
            cells.append(
                Markup('<td class="{}" style="--share:{:.3f}" data-tip="{}">{}</td>').format(
                    kind, share, told, count or ""
                )
            )
        return Markup('<tr><th scope="row">{}</th>{}</tr>').format(name, Markup("").join(cells))

    def largest(self, most: int = 15) -> Table:
        """The most frequent confusions, for more classes than a matrix can show."""
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(wrong, axis=None)[::-1][:most]
        rows = []
        for true, predicted in zip(*np.unravel_index(order, wrong.shape)):
            if wrong[true, predicted]:
                share = wrong[true, predicted] / max(1, self.counts[true].sum())
                cells = [self.classes[true], self.classes[predicted], str(int(wrong[true, predicted])), percent(share)]
                rows.append(cells)
        return Table(("true class", "taken for", "samples", "of its class"), rows, "The largest confusions")
